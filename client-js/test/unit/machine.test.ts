import { describe, expect, test } from "vitest";
import { backoffMs } from "../../src/backoff.js";
import { DormouseError } from "../../src/errors.js";
import { deadline, isFinal, step, type MachineInput, type MachineState } from "../../src/machine.js";

const options = { backoff: { minMs: 500, maxMs: 20_000 }, timeoutMs: 10_000 };
const WELCOME: MachineInput = { type: "welcome", pingIntervalMs: 25_000 };

/** A machine with a clock that a test moves. */
function machine(random = 0.5) {
  let state: MachineState = { name: "idle" };
  let now = 0;
  const effects: string[] = [];
  const input = (input: MachineInput | MachineInput["type"]) => {
    const next = step(state, typeof input === "string" ? ({ type: input } as MachineInput) : input, now, random, options);
    state = next.state;
    effects.push(...next.effects);
  };
  return {
    input,
    effects: () => effects.splice(0),
    name: () => state.name,
    state: () => state,
    pass: (ms: number) => (now += ms),
    /** Lets the time pass until the state wants the timer. */
    timer: () => {
      const waited = deadline(state)! - now;
      now += waited;
      input("timer");
      return waited;
    },
    close: (code: number, reason = "") => input({ type: "closed", code, reason }),
    /** Why it waits. */
    error: () => (state.name === "waiting" ? state.error : null),
  };
}

function connected(random?: number) {
  const it = machine(random);
  it.input("connect");
  it.input(WELCOME);
  it.effects();
  return it;
}

describe("back-off", () => {
  test("doubles its range up to the maximum and uses all of it", () => {
    const ceilings = [0, 1, 2, 5, 6, 60].map((attempt) => backoffMs(options.backoff, attempt, 1));
    expect(ceilings).toEqual([500, 1_000, 2_000, 16_000, 20_000, 20_000]);
    expect(backoffMs(options.backoff, 6, 0)).toBe(0);
    expect(backoffMs(options.backoff, 6, 0.25)).toBe(5_000);
  });
});

describe("connecting", () => {
  test("opens a socket and is connected at the welcome", () => {
    const it = machine();
    it.input("connect");
    expect([it.name(), it.effects()]).toEqual(["connecting", ["open"]]);
    it.input(WELCOME);
    expect([it.name(), it.effects()]).toEqual(["connected", []]);
  });

  test("gives up on a socket that does not welcome in time", () => {
    const it = machine();
    it.input("connect");
    it.effects();
    expect(it.timer()).toBe(10_000);
    expect([it.name(), it.effects()]).toEqual(["waiting", ["abandon"]]);
    expect(it.error()).toMatchObject({ code: "timeout" });
  });

  test("waits longer after every failure", () => {
    const it = machine(1);
    it.input("connect");
    const waits = [1, 2, 3, 4, 5, 6, 7, 8].map(() => {
      it.close(1006);
      return it.timer();
    });
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
    expect(it.name()).toBe("connecting");
  });

  test("the application can ask for the next attempt at once, and so can the network", () => {
    for (const input of ["connect", "wake"] as const) {
      const it = connected();
      it.close(1006);
      it.input(input);
      expect([it.name(), it.effects()]).toEqual(["connecting", ["open"]]);
    }
  });
});

describe("while it waits, it knows why", () => {
  test("a server that can't be reached", () => {
    const it = machine();
    it.input("connect");
    it.close(1006);
    expect(it.error()).toMatchObject({ code: "unreachable", closeCode: 1006, message: "cannot connect to the server (1006)" });
  });

  test("a connection that ended", () => {
    const it = connected();
    it.close(3000, "going_away");
    expect(it.error()).toMatchObject({ code: "unreachable", closeCode: 3000, message: "the connection was lost: going_away (3000)" });
  });
});

describe("the back-off starts anew", () => {
  test.each([
    [4_999, 1_000],
    [5_000, 500],
  ])("after %i ms of connection the next wait is up to %i ms", (up, wait) => {
    const it = machine(1);
    it.input("connect");
    it.close(1006);
    it.timer();
    it.input(WELCOME);
    it.pass(up);
    it.close(1006);
    expect(it.timer()).toBe(wait);
  });
});

describe("close codes", () => {
  test.each([1000, 1001, 1006, 1011, 3000, 3499, 4000, 4499])("%i: comes back", (code) => {
    const it = connected();
    it.close(code);
    expect(it.name()).toBe("waiting");
  });

  test.each([1002, 1003, 1007, 1009, 3500, 3999, 4500, 4999])("%i: stops", (code) => {
    expect(isFinal(code)).toBe(true);
    const it = connected();
    it.close(code);
    expect(it.state()).toMatchObject({ name: "stopped", error: { code: "closed", closeCode: code } });
    expect(deadline(it.state())).toBeNull();
    it.input("wake");
    expect(it.name()).toBe("stopped");
    it.input("connect");
    expect(it.name()).toBe("connecting");
  });
});

describe("liveness", () => {
  test("a silent server is asked, and what it sends counts as an answer", () => {
    const it = connected();
    expect(it.timer()).toBe(30_000);
    expect([it.name(), it.effects()]).toEqual(["connected", ["ping"]]);
    it.input("received");
    expect(it.timer()).toBe(30_000);
  });

  test("whatever is heard puts the question off", () => {
    const it = connected();
    it.pass(29_000);
    it.input("received");
    it.pass(1_000);
    it.input("timer");
    expect(it.effects()).toEqual([]);
    expect(it.timer()).toBe(29_000);
    expect(it.effects()).toEqual(["ping"]);
  });

  test("without an answer the connection is given up", () => {
    const it = connected();
    it.timer();
    it.effects();
    expect(it.timer()).toBe(10_000);
    expect([it.name(), it.effects()]).toEqual(["waiting", ["abandon"]]);
  });

  test("a page that is looked at again asks at once, and only once", () => {
    const it = connected();
    it.input("wake");
    it.input("wake");
    expect(it.effects()).toEqual(["ping"]);
  });
});

describe("a server that breaks the protocol", () => {
  const error = new DormouseError("protocol", "what it sent");
  const input: MachineInput = { type: "protocol_error", error };

  test("is left and tried again", () => {
    const it = connected();
    it.input(input);
    expect([it.name(), it.effects(), it.error()]).toEqual(["waiting", ["abandon"], error]);
  });

  test("again and again is given up, whatever else happens between", () => {
    const it = connected();
    it.input(input);
    it.timer();
    it.close(1006);
    it.timer();
    it.input(WELCOME);
    it.input(input);
    it.timer();
    it.input(WELCOME);
    it.effects();
    it.input(input);
    expect(it.effects()).toEqual(["abandon"]);
    expect(it.state()).toMatchObject({ name: "stopped", error: { code: "protocol", message: expect.stringContaining("what it sent") } });
  });

  test("now and then is always tried again", () => {
    const it = connected();
    for (let times = 0; times < 10; times++) {
      it.pass(5_000);
      it.input(input);
      it.timer();
      it.input(WELCOME);
    }
    expect(it.name()).toBe("connected");
  });
});

test("a handshake that is rejected permanently stops the client until the application connects again", () => {
  const it = machine();
  it.input("connect");
  const error = new DormouseError("closed", "HTTP 404");
  it.input({ type: "rejected", error });
  expect([it.state(), deadline(it.state())]).toEqual([{ name: "stopped", error }, null]);
  it.input("connect");
  expect(it.name()).toBe("connecting");
});

test("disconnect ends every state", () => {
  const it = connected();
  it.input("disconnect");
  expect([it.name(), it.effects()]).toEqual(["idle", ["close"]]);
  it.input("connect");
  it.effects();
  it.close(1006);
  it.input("disconnect");
  expect([it.name(), it.effects()]).toEqual(["idle", []]);
  it.input("wake");
  expect(it.name()).toBe("idle");
});
