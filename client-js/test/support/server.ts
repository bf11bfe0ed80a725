import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BINARY = process.env.DORMOUSE_BIN ?? fileURLToPath(new URL("../../../target/debug/dormouse", import.meta.url));
const READY = /^dormouse \S+ listening on http:\/\/127\.0\.0\.1:(\d+)\ndormouse \S+ internal on (http:\/\/127\.0\.0\.1:\d+)$/m;

/** The real server, with its own process and data directory. */
export class RealServer {
  #child: ChildProcess | null = null;
  #port = 0;
  #internal = "";
  readonly #data = mkdtempSync(join(tmpdir(), "dormouse-test-"));
  readonly #settings: Record<string, string>;

  private constructor(settings: Record<string, string>) {
    this.#settings = settings;
  }

  /** A server that asks for tokens. */
  static async startWithKey(settings: Record<string, string> = {}): Promise<RealServer> {
    const server = new RealServer(settings);
    server.makeKey();
    await server.start();
    return server;
  }

  /** Starts a server. `settings` are environment variables. */
  static async start(settings: Record<string, string> = {}): Promise<RealServer> {
    const server = new RealServer(settings);
    await server.start();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The address for operators. */
  get internal(): string {
    return this.#internal;
  }

  get port(): number {
    return this.#port;
  }

  /** Starts the process, on the same port as before if it ran already. */
  async start(): Promise<void> {
    if (!existsSync(BINARY)) {
      throw new Error(`there is no server at ${BINARY}: run \`cargo build\`, or name another one in DORMOUSE_BIN`);
    }
    const child = spawn(BINARY, ["--listen", `127.0.0.1:${this.#port}`, "--internal", "127.0.0.1:0", "--data", this.#data], {
      env: { ...quietEnv(), ...this.#settings },
    });
    this.#child = child;
    [this.#port, this.#internal] = await new Promise<[number, string]>((resolve, reject) => {
      let out = "";
      let log = "";
      child.stderr.on("data", (data: Buffer) => (log = (log + data.toString()).slice(-4_000)));
      child.stdout.on("data", (data: Buffer) => {
        out += data.toString();
        const ready = READY.exec(out);
        if (ready) resolve([Number(ready[1]), ready[2]!]);
      });
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code} before it was ready:\n${out}${log}`)));
    });
  }

  /** Makes the server's own key. From its next start on, the server asks for tokens. */
  makeKey(): void {
    this.#run("key", "create");
  }

  /** A token of a user with these grants. */
  token(user: string, grants: string[], expires = "1h"): string {
    return this.#run("token", "create", "--user", user, "--expires", expires, ...grants.flatMap((grant) => ["--grant", grant]));
  }

  #run(...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(BINARY, [...args, "--data", this.#data], { env: { ...quietEnv(), ...this.#settings }, encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
    return stdout.trim();
  }

  /** Kills the process with SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#child = null;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Removes the data. The process must not be running. */
  forget(): void {
    rmSync(this.#data, { recursive: true, force: true });
  }

  /** Kills the process and removes the data. */
  async remove(): Promise<void> {
    await this.kill();
    this.forget();
  }
}

/** The environment without settings of the server, which it would read as well. */
function quietEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DORMOUSE_")));
}
