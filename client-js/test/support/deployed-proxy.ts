import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A proxy with a configuration of docs/deploy. Addresses and timeouts are replaced by those of the test, and TLS is left out. */
export class DeployedProxy {
  #child: ChildProcess | null = null;
  #log = "";
  readonly #dir = mkdtempSync(join(tmpdir(), "dormouse-proxy-"));

  private constructor(
    readonly name: ProxyName,
    readonly port: number,
  ) {}

  /** Starts a proxy in front of a server. The proxy closes a connection that is silent for `idleSeconds`. */
  static async start(name: ProxyName, server: number, idleSeconds: number): Promise<DeployedProxy> {
    const proxy = new DeployedProxy(name, await freePort());
    const text = readFileSync(fileURLToPath(new URL(`../../../docs/deploy/${FILES[name]}`, import.meta.url)), "utf8");
    const config = proxy.#config(text, server, idleSeconds);
    writeFileSync(join(proxy.#dir, FILES[name]), config);
    proxy.#spawn();
    await proxy.#answers();
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Makes the proxy read its configuration again, in the way that an operator does it. */
  async reload(): Promise<void> {
    if (this.name === "caddy") {
      await this.#run(["reload", "--config", join(this.#dir, FILES.caddy), "--adapter", "caddyfile", "--force", "--address", `127.0.0.1:${this.port + 1}`]);
    } else this.#child!.kill(this.name === "nginx" ? "SIGHUP" : "SIGUSR2");
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child && child.exitCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #config(text: string, server: number, idleSeconds: number): string {
    const replace = (text: string, from: RegExp | string, to: string): string => {
      const replaced = text.replaceAll(from, to);
      if (replaced === text) throw new Error(`${FILES[this.name]} has no ${String(from)}`);
      return replaced;
    };
    let config = replace(text, "127.0.0.1:7700", `127.0.0.1:${server}`);
    switch (this.name) {
      case "nginx":
        config = replace(config, /listen 443 ssl;/g, `listen 127.0.0.1:${this.port};`);
        config = replace(config, /^\s*(listen \[::\]|ssl_certificate).*\n/gm, "");
        config = replace(config, /\/var\/log\/nginx/g, this.#dir);
        config = replace(config, /75s/g, `${idleSeconds}s`);
        return (
          `daemon off; worker_processes 1; worker_shutdown_timeout 1s; pid ${this.#dir}/pid; error_log stderr;\n` +
          `events { worker_connections 64; }\nhttp { ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map((kind) => `${kind}_temp_path ${this.#dir}/${kind};`)
            .join(" ")}\n${config}}\n`
        );
      case "haproxy":
        config = replace(config, /bind :443 ssl crt \S+/g, `bind 127.0.0.1:${this.port}`);
        config = replace(config, "hard-stop-after 30s", "hard-stop-after 1s");
        config = replace(config, "maxconn 40000", "maxconn 64");
        return replace(config, /75s/g, `${idleSeconds}s`);
      case "caddy":
        config = replace(config, "chat.example {", `http://127.0.0.1:${this.port} {`);
        return `{\n\tadmin 127.0.0.1:${this.port + 1}\n}\n${config}`;
    }
  }

  #spawn(): void {
    const file = join(this.#dir, FILES[this.name]);
    const args = {
      nginx: ["-c", file, "-p", this.#dir, "-e", "stderr"],
      haproxy: ["-W", "-db", "-f", file],
      caddy: ["run", "--config", file, "--adapter", "caddyfile"],
    }[this.name];
    const child = spawn(this.name, args, { env: this.#env() });
    const keep = (data: Buffer): void => void (this.#log = (this.#log + data.toString()).slice(-4_000));
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.once("error", (error) => (this.#log += String(error)));
    this.#child = child;
  }

  async #run(args: string[]): Promise<void> {
    const child = spawn(this.name, args, { env: this.#env() });
    const code = await new Promise((resolve) => child.once("exit", resolve));
    if (code !== 0) throw new Error(`${this.name} ${args.join(" ")} ended with ${String(code)}`);
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, XDG_CONFIG_HOME: this.#dir, XDG_DATA_HOME: this.#dir, HOME: this.#dir };
  }

  /** Waits until it accepts connections. */
  async #answers(): Promise<void> {
    const end = performance.now() + 20_000;
    // HAProxy's master process handles signals only after it has logged this.
    const isReady = (): boolean => this.name !== "haproxy" || this.#log.includes("Loading success");
    while (!isReady() || !(await canConnect(this.port))) {
      if (performance.now() > end || this.#child?.exitCode !== null) throw new Error(`${this.name} does not start:\n${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

export type ProxyName = keyof typeof FILES;
const FILES = { nginx: "nginx.conf", haproxy: "haproxy.cfg", caddy: "Caddyfile" } as const;

/** Ports below the ephemeral ones of Linux (32768 and above). */
const PORTS = { first: 20_000, last: 32_000 };

/** A port, with the next one, that no process listens on. It is not ephemeral, so no connection can take it before the proxy listens. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + 2 * Math.floor((Math.random() * (PORTS.last - PORTS.first)) / 2);
    if (!(await canConnect(port)) && !(await canConnect(port + 1))) return port;
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = new Socket();
    const done = (isOpen: boolean) => (): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once("connect", done(true));
    socket.once("error", done(false));
    socket.connect(port, "127.0.0.1");
  });
}
