//! The program on a disk that loses power or gets into trouble.
//!
//! `faulty.c` is put under it and says what it can do. Promise 3, durable first, and promise 10 on what no kill shows.

mod full;
mod power;
mod trouble;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Program;
use crate::support::{DORMOUSE, PATIENCE, dormouse_at};

/// The library, made by each process of tests and in one place for all.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faulty.so");
    let draft = library.with_extension(std::process::id().to_string());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/disk/faulty.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
    compiler.arg(&draft).arg(source).args(["-ldl", "-lpthread"]);
    assert!(compiler.status().expect("a C compiler is there").success());
    fs::rename(draft, &library).unwrap();
    library
});

/// What a disk can be made to do: the words of `faulty.c`, in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    WriteError,
    SyncError,
    ChangeError,
    SyncWaits,
    FreeMib,
    DiesAt,
    SyncsWaiting,
    Before1970,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// A faulty disk with the data of one server.
struct Disk {
    dir: TempDir,
    control: File,
    program: PathBuf,
}

impl Disk {
    fn new() -> Self {
        // In memory where that is possible: these disks sync often, and a real one is slow.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        let path = dir.path().join("control");
        fs::write(&path, [0; 64]).unwrap();
        let control = File::options().read(true).write(true).open(path).unwrap();
        Self { dir, control, program: DORMOUSE.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(&self, word: Word, value: i32) {
        self.control.write_all_at(&value.to_ne_bytes(), word as u64 * 4).unwrap();
    }

    fn get(&self, word: Word) -> i32 {
        let mut value = [0; 4];
        self.control.read_exact_at(&mut value, word as u64 * 4).unwrap();
        i32::from_ne_bytes(value)
    }

    /// Starts the program on it, with its log in `stderr`.
    fn start(&self, port: u16, variables: &[(&str, &str)]) -> Program {
        Program::run(self.command(port, variables))
    }

    fn command(&self, port: u16, variables: &[(&str, &str)]) -> Command {
        let listen = format!("127.0.0.1:{port}");
        let mut command = dormouse_at(&self.program, &["--listen", &listen]);
        let stderr = File::options().create(true).append(true).open(self.path("stderr")).unwrap();
        command.arg("--data").arg(self.path("disk/some/data")).stderr(Stdio::from(stderr));
        command.env("LD_PRELOAD", &*LIBRARY);
        command.env("FAULTY_DIR", self.path("disk")).env("FAULTY_CONTROL", self.path("control"));
        command.env("FAULTY_SHADOW", self.path("shadow"));
        command.env("DORMOUSE_LOG_MIN_FREE", "0B");
        command.envs(variables.iter().copied());
        command
    }

    /// Gives the program a file of its own, which the test may change.
    fn own_program(&mut self) -> &Path {
        self.program = self.path("dormouse");
        // By another process: no child of this one may have the file open for writing when it is executed.
        let copied = Command::new("cp").arg(DORMOUSE).arg(&self.program).status();
        assert!(copied.unwrap().success());
        &self.program
    }

    /// The disk after the power was lost at this moment.
    fn after_power_loss(self) -> Self {
        let after = Self::new();
        let copied = Command::new("cp")
            .args(["-R", "-L", "-T"])
            .args([self.path("shadow/root"), after.path("disk")])
            .status();
        assert!(copied.unwrap().success());
        after
    }

    /// What the program has logged.
    fn logged(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// Waits until so many syncs hang.
    fn syncs_hang(&self) {
        until("a sync hangs", || self.get(Word::SyncsWaiting) > 0);
    }

    fn is_logged(&self, text: &str) {
        until(text, || self.logged().contains(text));
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
