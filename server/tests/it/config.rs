//! The configuration of the program, as `dormouse config` shows it.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use tempfile::TempDir;

use crate::support::dormouse;

struct Run {
    flags: Vec<&'static str>,
    variables: Vec<(&'static str, &'static str)>,
    file: Option<&'static str>,
}

impl Run {
    fn new() -> Self {
        Self { flags: Vec::new(), variables: Vec::new(), file: None }
    }

    fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags);
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    fn file(mut self, content: &'static str) -> Self {
        self.file = Some(content);
        self
    }

    fn output(&self) -> Output {
        let dir = TempDir::new().unwrap();
        let mut command = dormouse(&["config"]);
        command.args(&self.flags).envs(self.variables.iter().copied());
        if let Some(content) = self.file {
            let path = dir.path().join("dormouse.conf");
            fs::write(&path, content).unwrap();
            command.arg("--config").arg(path);
        }
        command.output().unwrap()
    }

    fn printed(&self) -> String {
        let output = self.output();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn values(&self) -> toml::Table {
        self.printed().parse().unwrap()
    }

    /// What stands on stderr of a run that must be refused.
    fn refusal(&self) -> String {
        let output = self.output();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(output.stdout.is_empty());
        assert!(text.starts_with("error: "), "{text}");
        text
    }
}

#[test]
fn flags_go_before_environment_before_file_before_defaults() {
    let mut run = Run::new();
    assert_eq!(run.values()["listen"].as_str(), Some("127.0.0.1:7700"));
    run = run.file("listen = '127.0.0.1:1'\n");
    assert_eq!(run.values()["listen"].as_str(), Some("127.0.0.1:1"));
    run = run.variable("DORMOUSE_LISTEN", "127.0.0.1:2");
    assert_eq!(run.values()["listen"].as_str(), Some("127.0.0.1:2"));
    run = run.flags(&["--listen", "127.0.0.1:3"]);
    assert_eq!(run.values()["listen"].as_str(), Some("127.0.0.1:3"));
}

#[test]
fn sources_are_merged_key_by_key() {
    let values = Run::new()
        .file("[limits]\njoins = 7\n[classes.room.retention]\nmax_age = '3d'\nmax_bytes = 2048\n")
        .variable("DORMOUSE_LIMITS_MESSAGE_BYTES", "1MiB")
        .variable("DORMOUSE_LIMITS_OUTBOUND_BYTES", "2000000")
        .variable("DORMOUSE_CLASSES_ROOM_RETENTION_MAX_EVENTS", "0")
        .values();
    assert_eq!(values["limits"]["joins"].as_integer(), Some(7));
    assert_eq!(values["limits"]["message_bytes"].as_str(), Some("1MiB"));
    assert_eq!(values["limits"]["outbound_bytes"].as_str(), Some("2000000B"));
    assert_eq!(values["limits"]["in_flight"].as_integer(), Some(256));
    let retention = &values["classes"]["room"]["retention"];
    assert_eq!(retention["max_events"].as_integer(), Some(0));
    assert_eq!(retention["max_age"].as_str(), Some("3days"));
    assert_eq!(retention["max_bytes"].as_str(), Some("2KiB"));
}

#[test]
fn what_is_printed_gives_the_same_configuration() {
    let first = Run::new()
        .flags(&["--data", "/some \"where\" \\ else"])
        .variable("DORMOUSE_LIMITS_MESSAGE_BYTES", "65537")
        .variable("DORMOUSE_LIVENESS_PING_INTERVAL", "1m 1s 1ms")
        .printed();
    let dir = TempDir::new().unwrap();
    let path: PathBuf = dir.path().join("printed.toml");
    fs::write(&path, &first).unwrap();
    let again = dormouse(&["config", "--config"]).arg(path).output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), first);
    assert!(first.contains("message_bytes = \"65537B\"\n"), "{first}");
    assert!(
        first.contains("# Environment: DORMOUSE_CLASSES_ROOM_SLEEP_AFTER\nsleep_after = \"10s\"\n")
    );
}

#[test]
fn an_unknown_key_is_named() {
    for (content, key) in [
        ("lisen = '127.0.0.1:1'\n", "lisen"),
        ("[limits]\nmassage_bytes = 1\n", "massage_bytes"),
        ("[liveness]\nping = 1\n", "ping"),
        ("[objects]\nsleep = 1\n", "sleep"),
        ("[classes.lobby]\n", "lobby"),
        ("[classes.room]\nretain = 1\n", "retain"),
        ("[classes.room.retention]\nmax = 1\n", "max"),
    ] {
        let refusal = Run::new().file(content).refusal();
        assert!(refusal.contains(&format!("unknown field `{key}`")), "{refusal}");
        assert!(refusal.contains("dormouse.conf"), "{refusal}");
    }
}

#[test]
fn an_unknown_variable_is_named() {
    for name in ["DORMOUSE_LISTENS", "DORMOUSE_LIMITS", "DORMOUSE_limits_joins", "DORMOUSE_"] {
        let refusal = Run::new().variable(name, "1").refusal();
        assert!(refusal.contains(&format!("unknown environment variable `{name}`")), "{refusal}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_source() {
    for (name, value, why) in [
        ("DORMOUSE_LISTEN", "localhost", "must be a host and a port"),
        ("DORMOUSE_REACTORS", "65", "must be at most 64"),
        ("DORMOUSE_LIMITS_JOINS", "0", "must be between 1"),
        ("DORMOUSE_LIMITS_JOINS", "many", "invalid digit"),
        ("DORMOUSE_LIMITS_MESSAGE_BYTES", "17MiB", "must be between 1KiB and 16MiB"),
        ("DORMOUSE_LIMITS_MESSAGE_BYTES", "much", "expected a size"),
        ("DORMOUSE_LIVENESS_PING_INTERVAL", "0s", "must be between 1ms"),
        ("DORMOUSE_LIVENESS_PING_INTERVAL", "25", "expected a duration"),
        ("DORMOUSE_OBJECTS_PINNED", "room/a,lobby", "`lobby`: an object's name must be"),
    ] {
        let refusal = Run::new().variable(name, value).refusal();
        assert!(refusal.contains(name) && refusal.contains(why), "{refusal}");
    }
    for (content, key, why) in [
        ("listen = 7700\n", "listen", "invalid type"),
        ("data = ''\n", "data", "must not be empty"),
        ("[limits]\nmessage_bytes = '1EiB'\n", "message_bytes", "must be between"),
        ("[limits]\nmailbox = -1\n", "mailbox", "invalid value"),
        ("[classes.room.retention]\nmax_age = '900y'\n", "max_age", "at most 100 years"),
        ("[limits]\nmessage_bytes = '1MiB'\n", "limits.outbound_bytes (256KiB)", "at least"),
        (
            "[limits]\nmemory = '64MiB'\nmessage_bytes = '2MiB'\noutbound_bytes = '2MiB'\n",
            "limits.memory (64MiB)",
            "at least 80MiB",
        ),
        ("[limits\n", "line 1", "dormouse.conf"),
        ("[objects]\npinned = ['room/a b']\n", "pinned", "`room/a b`: an object's name must be"),
        (
            "[objects]\nmax_awake = 2\npinned = ['room/a', 'room/b']\n",
            "objects.pinned (2 objects)",
            "objects.max_awake (2)",
        ),
    ] {
        let refusal = Run::new().file(content).refusal();
        assert!(refusal.contains(key) && refusal.contains(why), "{refusal}");
    }
}

#[test]
fn pinned_objects_leave_a_place() {
    let values = Run::new()
        .file("[objects]\nmax_awake = 3\n")
        .variable("DORMOUSE_OBJECTS_PINNED", "room/a, room/b")
        .values();
    let pinned = values["objects"]["pinned"].as_array().unwrap();
    assert!(pinned.iter().filter_map(|name| name.as_str()).eq(["room/a", "room/b"]));
}

#[test]
fn a_configuration_file_that_is_named_must_exist() {
    let refusal = Run::new().flags(&["--config", "/nowhere/dormouse.toml"]).refusal();
    assert!(refusal.contains("/nowhere/dormouse.toml"), "{refusal}");
}

#[test]
fn keys_of_tokens_and_grants_are_read_and_printed() {
    let content = "[auth]\nkeys = ['a: ES256 file:/a.pem']\noidc = 'https://login.example'\naudience = ['chat']\n\
                   roles = { editor = ['doc/*: publish,join'] }\nanonymous = ['room/public-*: join']\n";
    let first = Run::new().file(content).values();
    let auth = &first["auth"];
    assert_eq!(auth["keys"][0].as_str(), Some("a: ES256 file:/a.pem"));
    assert_eq!(auth["roles"]["editor"][0].as_str(), Some("doc/*: join, publish"));
    assert_eq!(auth["anonymous"][0].as_str(), Some("room/public-*: join"));
    let same = Run::new()
        .variable("DORMOUSE_AUTH_KEYS", "a: ES256 file:/a.pem")
        .variable("DORMOUSE_AUTH_OIDC", "https://login.example")
        .variable("DORMOUSE_AUTH_AUDIENCE", "chat")
        .variable("DORMOUSE_AUTH_ROLES", "editor = doc/*: join, publish")
        .variable("DORMOUSE_AUTH_ANONYMOUS", "room/public-*: join")
        .values();
    assert_eq!(same["auth"], first["auth"]);
}

#[test]
fn a_bad_entry_of_auth_is_named() {
    for (content, why) in [
        ("keys = ['a: none file:k']", "must be `ID: ALGORITHM file:PATH`"),
        ("jwks = 'http://login.example/jwks'", "must be a URL with https"),
        ("jwks = 'https://login.example/jwks'", "auth.jwks needs auth.audience"),
        ("oidc = 'https://login.example'", "auth.oidc needs auth.audience"),
        ("anonymous = ['room/*']", "as in `room/team-*: join, publish`"),
        ("anonymous = ['room: join']", "a pattern must be `class/name`"),
        ("roles = { a = ['room/*: jion'] }", "a verb must be one of"),
        ("grants_claim = ''", "must not be empty"),
        ("leeway = '6m'", "must be at most 5min"),
    ] {
        let content: &'static str = format!("[auth]\n{content}\n").leak();
        let refusal = Run::new().file(content).refusal();
        assert!(refusal.contains(why), "{refusal}");
    }
}
