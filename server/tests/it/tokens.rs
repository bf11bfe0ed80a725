//! `dormouse key` and `dormouse token`.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};

use tempfile::TempDir;

use crate::process::Program;
use crate::support::dormouse;

/// A data directory, and the program's commands on it.
struct Tokens {
    data: TempDir,
}

impl Tokens {
    fn new() -> Self {
        Self { data: TempDir::new().unwrap() }
    }

    fn with_key() -> Self {
        let tokens = Self::new();
        assert!(tokens.run(&["key", "create"]).status.success());
        tokens
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, &[], "")
    }

    fn run_with(&self, args: &[&str], variables: &[(&str, &str)], stdin: &str) -> Output {
        let mut command = dormouse(args);
        command.arg("--data").arg(self.data.path()).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The program may end without reading.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn token(&self, args: &[&str]) -> String {
        printed(&self.run(&[&["token", "create"], args].concat())).trim().to_owned()
    }
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn without_a_key_the_error_names_the_command_that_makes_one() {
    let tokens = Tokens::new();
    for args in [&["token", "create", "--user", "ada"][..], &["token", "check", "a.b.c"]] {
        let error = refused(&tokens.run(args));
        assert!(error.contains("`dormouse key create`"), "{error}");
    }
    assert!(printed(&tokens.run(&["key", "create"])).contains("auth.key"));
    printed(&tokens.run(&["token", "create", "--user", "ada"]));
    let error = refused(&tokens.run(&["key", "create"]));
    assert!(error.contains("there is a key already"), "{error}");
}

#[test]
fn a_token_is_made_checked_and_explained() {
    let tokens = Tokens::with_key();
    let grants = ["--grant", "room/team-*: join, publish", "--grant", "doc/{user}: join"];
    let token = tokens.token(&[&["--user", "ada"], &grants[..]].concat());
    let text = printed(&tokens.run(&["token", "check", &token]));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["valid", "user: ada"]);
    assert!(lines[2].starts_with("expires: 20"), "{text}");
    assert_eq!(lines[3..], ["grants:", "  room/team-*: join, publish", "  doc/{user}: join"]);
    let by_stdin = tokens.run_with(&["token", "check", "-"], &[], &format!("{token}\n"));
    assert_eq!(printed(&by_stdin), text);

    let explain = |object: &str, verb: &str| {
        tokens.run(&["token", "explain", &token, "--object", object, "--verb", verb])
    };
    let allowed = |object, verb| printed(&explain(object, verb));
    assert_eq!(allowed("room/team-a", "publish"), "allowed by `room/team-*: join, publish`\n");
    assert_eq!(allowed("doc/ada", "join"), "allowed by `doc/{user}: join`\n");
    for (object, verb) in [("room/a", "join"), ("room/team-a", "admin"), ("doc/bob", "join")] {
        let error = refused(&explain(object, verb));
        assert!(error.contains(&format!("no grant allows `{verb}` on {object}")), "{error}");
    }
}

#[test]
fn a_refused_token_gives_its_reason_and_is_not_printed() {
    let (tokens, others) = (Tokens::with_key(), Tokens::with_key());
    let expired = tokens.token(&["--user", "ada", "--expires", "0s"]);
    let variables = [("DORMOUSE_AUTH_LEEWAY", "0s")];
    for (output, why, token) in [
        (tokens.run_with(&["token", "check", "-"], &variables, &expired), "has expired", &*expired),
        (tokens.run(&["token", "check", "hello"]), "not a signed JWT", "hello"),
        (others.run(&["token", "check", &expired]), "signature is wrong", &expired),
        (tokens.run_with(&["token", "check", "-"], &[], &"a".repeat(1 << 20)), "8KiB", "aaaa"),
    ] {
        let error = refused(&output);
        assert!(error.contains(why), "{error}");
        assert!(!error.contains(token), "{error}");
    }
}

#[test]
fn keys_roles_and_anonymous_grants_come_from_the_configuration() {
    let tokens = Tokens::new();
    let keys = ("DORMOUSE_AUTH_KEYS", "old: HS256 env:OLD; new: HS512 env:NEW");
    let variables = [
        keys,
        ("OLD", &*"o".repeat(32)),
        ("NEW", &*"n".repeat(64)),
        ("DORMOUSE_AUTH_ROLES", "reader = room/*: join; reader = doc/*: join"),
        ("DORMOUSE_AUTH_ROLES_CLAIM", "sub"),
        ("DORMOUSE_AUTH_ANONYMOUS", "room/public-*: join, history; room/lobby: join"),
    ];
    let run = |args: &[&str], stdin: &str| tokens.run_with(args, &variables, stdin);
    for args in [&["--key", "new"][..], &["--key", "old"], &[]] {
        let create = [&["token", "create", "--user", "reader"], args].concat();
        let token = printed(&run(&create, ""));
        let checked = printed(&run(&["token", "check", "-"], &token));
        assert!(checked.ends_with("grants:\n  room/*: join\n  doc/*: join\n"), "{checked}");
    }
    let error = refused(&run(&["token", "create", "--user", "ada", "--key", "newer"], ""));
    assert!(error.contains("no key `newer`"), "{error}");
    let anonymous =
        |verb| run(&["token", "explain", "--object", "room/public-a", "--verb", verb], "");
    assert_eq!(printed(&anonymous("history")), "allowed by `room/public-*: join, history`\n");
    refused(&anonymous("publish"));
}

#[test]
fn a_key_that_cannot_be_used_ends_the_start() {
    let tokens = Tokens::new();
    let keys = [("DORMOUSE_AUTH_KEYS", "main: HS256 env:NOT_SET")];
    let error = refused(&tokens.run_with(&["serve", "--listen", "127.0.0.1:0"], &keys, ""));
    assert!(error.contains("the key `main` of tokens cannot be used\n"), "{error}");
    assert!(error.contains("the environment variable `NOT_SET` is not set"), "{error}");
}

#[test]
fn a_server_starts_while_its_issuer_is_down() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data = TempDir::new().unwrap();
    let mut command = dormouse(&["--listen", "127.0.0.1:0", "--data"]);
    command.arg(data.path());
    command.env("DORMOUSE_AUTH_OIDC", format!("http://{closed}"));
    command.env("DORMOUSE_AUTH_AUDIENCE", "chat");
    let program = Program::run(command);
    assert!(TcpStream::connect(program.address).is_ok());
}
