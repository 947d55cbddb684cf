//! Cap'n Web through `--framing ndjson`: npm's own client behind a WebSocket, and the service of
//! `examples/capnweb-service` on a TCP port, both unmodified. What either of them says must arrive
//! as if nothing were in between, and so must the end of either.
//!
//! Needs Node and npm's registry, the latter once. Without them every test says that it is skipped.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

use common::proxy::{Closed, Lines};
use common::Proxy;

#[test]
fn calls_and_errors() {
    succeeds("calls");
}

#[test]
fn calls_on_results_that_are_not_there_yet() {
    succeeds("pipelining");
}

#[test]
fn callbacks_both_ways() {
    succeeds("callbacks");
}

#[test]
fn map() {
    succeeds("map");
}

#[test]
fn streams_both_ways() {
    succeeds("streams");
}

#[test]
fn five_megabytes_each_way() {
    succeeds("big");
}

#[test]
fn ten_thousand_calls_at_once_and_in_turn() {
    succeeds("many");
}

#[test]
fn eight_sessions_at_once() {
    succeeds("together");
}

/// What is no Cap'n Web ends that session by a message that says so, and no other one.
#[test]
fn the_service_has_the_last_word_in_a_session_that_it_ends() {
    succeeds("nonsense");
}

#[test]
fn a_service_that_is_killed_breaks_the_calls_of_its_clients() {
    let Some(mut scene) = Scene::set("forsaken") else { return };
    scene.client.says("waiting");
    scene.service.kill();
    let closed = scene.proxy.wait_for_closed(1)[0].clone();
    assert_eq!(closed.by, "target", "{closed:?}");
    scene.client.says("rejected: Peer closed WebSocket: ");
    scene.client.says("broken: Peer closed WebSocket: ");
    scene.client.succeeds();
}

#[test]
fn a_client_that_is_killed_leaves_the_service() {
    let Some(mut scene) = Scene::set("killed") else { return };
    scene.client.says("waiting");
    scene.client.kill();
    scene.service.says("client 1 is gone: ");
    let closed = scene.proxy.wait_for_closed(1)[0].clone();
    assert_eq!((closed.code, &closed.by[..]), (1006, "peer"), "{closed:?}");
}

/// A trial of `session.mjs` from its first step to its last, and the end of its sessions.
#[track_caller]
fn succeeds(trial: &str) {
    let Some(mut scene) = Scene::set(trial) else { return };
    scene.client.succeeds();
    let sessions = match trial {
        "together" => 8,
        "nonsense" => 2,
        _ => 1,
    };
    let closed = scene.proxy.wait_for_closed(sessions);
    let by_client = |closed: &&Closed| closed.by == "peer" && closed.code == 3000;
    let ends = closed.iter().filter(by_client).count();
    assert_eq!(ends, if trial == "nonsense" { 1 } else { sessions }, "{closed:?}");
    for number in 1..=sessions {
        scene.service.says(&format!("client {number} is gone: "));
    }
}

/// The service, the proxy in front of it, and a client that does what the trial says.
struct Scene {
    client: Node,
    proxy: Proxy,
    service: Node,
}

impl Scene {
    /// `None` where these tests cannot run; that was said.
    #[track_caller]
    fn set(trial: &str) -> Option<Self> {
        let peers = match peers() {
            Ok(peers) => peers,
            Err(why) => {
                skipped(trial, why);
                return None;
            }
        };
        let service = Node::start(peers, &["service.mjs", "0"]);
        let line = service.says("listening ");
        let endpoint = line.trim_start_matches("listening ");
        let proxy = Proxy::to(endpoint, &["--framing", "ndjson"]);
        let url = format!("ws://127.0.0.1:{}/", proxy.port());
        let client = Node::start(peers, &["session.mjs", &url, trial]);
        Some(Self { client, proxy, service })
    }
}

/// Past the test harness, which keeps what passing tests say to itself.
fn skipped(trial: &str, why: &str) {
    use std::io::Write;
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let line = format!("skipped: capnweb `{trial}` ({count} so far): {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A program under Node, killed when dropped.
struct Node {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Node {
    #[track_caller]
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("node");
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start node");
        let stdout = Lines::follow(child.stdout.take().unwrap());
        let stderr = Lines::follow(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits for the line that begins so.
    #[track_caller]
    fn says(&self, begin: &str) -> String {
        let found = |lines: &[String]| lines.iter().find(|l| l.starts_with(begin)).cloned();
        self.stdout.wait_for(begin, found)
    }

    /// Waits for the end of a program that finds nothing wrong. Each step that it reports has its
    /// own patience.
    #[track_caller]
    fn succeeds(&mut self) {
        let mut steps = 0;
        while self.stdout.all().last().map_or(true, |line| line != "done") {
            let further = |lines: &[String]| (lines.len() > steps).then_some(lines.len());
            steps = self.stdout.wait_for("the next step", further);
        }
        self.stdout.wait_for_end("the client to exit");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill a program of the test");
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let (out, err) = (self.stdout.all().join("\n"), self.stderr.all().join("\n"));
            eprintln!("--- a program under Node ---\n{out}\n{err}");
        }
    }
}

/// The directory with both programs and what they need of npm, or why there is none.
fn peers() -> Result<&'static Path, &'static str> {
    static PEERS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let peers = PEERS.get_or_init(|| install(Path::new(env!("CARGO_TARGET_TMPDIR"))));
    peers.as_deref().map_err(String::as_str)
}

fn install(place: &Path) -> Result<PathBuf, String> {
    let version = said_by(Command::new("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().map(str::parse);
    if !matches!(major, Some(Ok(20u32..))) {
        return Err(format!("node {} is too old, it takes 20 or newer", version.trim()));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (service, test) = (root.join("examples/capnweb-service"), root.join("tests/capnweb"));
    let directory = place.join("capnweb");
    let copy = |from: &Path, name: &str| fs::copy(from.join(name), directory.join(name));
    let wanted = fs::read(test.join("package.json")).expect("read what npm shall install");
    fs::create_dir_all(&directory).expect("make a directory for the programs");
    for name in ["service.mjs", "lines.mjs", "api.mjs"] {
        copy(&service, name).expect("copy the service");
    }
    copy(&test, "session.mjs").expect("copy the client");
    copy(&test, "package.json").expect("copy what npm shall install");
    // Written last, so that an installation that was cut short is begun again.
    let installed = directory.join("installed.json");
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let npm = ["60", "npm", "install", "--fetch-retries=0"];
        let less = ["--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier"];
        said_by(Command::new("timeout").args(npm).args(less).current_dir(&directory))?;
        fs::write(installed, wanted).expect("note what is installed");
    }
    Ok(directory)
}

/// What a program says that succeeds, or in one line why it does not.
fn said_by(command: &mut Command) -> Result<String, String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name: Vec<_> = words.take(4).map(|word| word.to_string_lossy()).collect();
    let name = name.join(" ");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().find(|l| l.contains("error")).unwrap_or_default();
    Err(format!("{name}: {}: {said}", output.status))
}
