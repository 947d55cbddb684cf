//! Load over loopback: what the proxy costs, against a plain copier that knows no WebSocket.
//!
//! ```text
//! cargo bench --bench loopback                     everything, about eight minutes
//! cargo bench --bench loopback -- --quick          small volumes, to see that it works
//! cargo bench --bench loopback -- echo connect     the rows whose names contain one of these
//! cargo bench --bench loopback -- tunnel           two in a row, and what each end costs
//! ROUNDS=9 PROXY_BIN=/path/to/ws-tcp-proxy cargo bench --bench loopback
//! ```
//!
//! Both programs are processes of their own, fresh for every round and measured in turns, first one and
//! then the other ahead. CPU is what the kernel accounts to that process over exactly the window in
//! which bytes flow. Load and targets share the other cores, so rates would say as much about them as
//! about the proxy, and are not given. Ratios hold from machine to machine, absolute figures do not.
//!
//! `QUICK=1` is `--quick`, `PROXY_ARGS` adds arguments for ours, `PIN=0` leaves the cores to the scheduler.
//!
//! Exits with 0 whatever the figures are, with 1 when something could not be measured.

mod compare;
mod copier;
mod cores;
mod cost;
mod epoll;
mod load;
mod memory;
mod plan;
mod proc;
mod report;
mod rows;
mod tunnel;
mod wire;

use std::env;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use plan::Plan;
use proc::{Role, AS_COPIER, AS_ECHO_SERVER};
use rows::{Row, ROWS};

/// Why a figure could not be had; only ever shown.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome<T> = Result<T, Failure>;

const USAGE: &str = "usage: cargo bench --bench loopback -- [--quick] [ROW...]";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some(AS_COPIER) => run_copier(&arguments),
        Some(AS_ECHO_SERVER) => load::run_echo_server().map_err(Failure::from),
        _ => measure(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("loopback: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run_copier(arguments: &[String]) -> Outcome<()> {
    let port = arguments.get(1).ok_or("the copier needs a target port")?;
    Ok(copier::run(port.parse()?)?)
}

fn measure(arguments: &[String]) -> Outcome<()> {
    let request = Request::parse(arguments)?;
    let descriptors = proc::raise_descriptor_limit()?;
    let plan = if request.is_quick {
        Plan::quick(request.rounds, descriptors)
    } else {
        Plan::full(request.rounds, descriptors)
    };
    // Before the cores are divided, and before there is load of our own.
    let machine = proc::machine();
    let cores = cores::divide()?;
    give_up_after(Duration::from_secs(180 + 180 * plan.rounds as u64));
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for row in &request.rows {
        match (row.run)(&plan) {
            Ok(measured) => lines.extend(measured),
            // What the other rows say holds all the same.
            Err(e) => {
                eprintln!("loopback: {e}");
                failed.push(row.name);
            }
        }
    }
    println!("machine: {machine}");
    println!("cores:   {cores}");
    println!("command: {}", request.command);
    print_setting(&plan);
    report::print(&lines);
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("could not measure {}; see above", failed.join(", ")).into())
}

/// What the command line and the environment ask for.
struct Request {
    is_quick: bool,
    rounds: Option<usize>,
    rows: Vec<&'static Row>,
    /// How to ask for the same again.
    command: String,
}

impl Request {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut is_quick = env::var_os("QUICK").is_some_and(|value| value != "0");
        let mut filters = Vec::new();
        for argument in arguments {
            match argument.as_str() {
                // What cargo itself says.
                "--bench" => {}
                "--quick" => is_quick = true,
                option if option.starts_with('-') => return Err(USAGE.into()),
                filter => filters.push(filter),
            }
        }
        let is_wanted =
            |row: &&Row| filters.is_empty() || filters.iter().any(|f| row.name.contains(f));
        let rows: Vec<&Row> = ROWS.iter().filter(is_wanted).collect();
        if rows.is_empty() {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("no such row; there are {}", names.join(", ")).into());
        }
        let mut command = vec!["cargo bench --bench loopback --"];
        command.extend(is_quick.then_some("--quick"));
        command.extend(filters);
        let command = command.join(" ").trim_end_matches(" --").to_string();
        Ok(Self { is_quick, rounds: rounds_from_environment()?, rows, command })
    }
}

fn rounds_from_environment() -> Outcome<Option<usize>> {
    let Some(text) = env::var_os("ROUNDS") else {
        return Ok(None);
    };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(rounds @ 1..=99) => Ok(Some(rounds)),
        _ => Err(format!("ROUNDS should be a number from 1 to 99, not {text:?}").into()),
    }
}

/// The last resort against hanging. The children end with this process.
fn give_up_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("loopback: not done after {} s, giving up", limit.as_secs());
        std::process::exit(1);
    });
}

fn print_setting(plan: &Plan) {
    let binary = proc::proxy_binary();
    let size = std::fs::metadata(&binary).map_or(0, |file| file.len() / 1024);
    println!(
        "ours:    {} {} ({}, {size} kB)",
        binary.display(),
        proc::proxy_arguments(Role::Server, "PORT").join(" "),
        version(&binary)
    );
    let near = proc::proxy_arguments(Role::Client, "PORT").join(" ");
    println!("tunnel:  the same behind another one with {near}");
    println!("copier:  one thread, level-triggered epoll, one 64 KiB buffer, TCP to TCP");
    println!(
        "rounds:  {} (memory under load {}, system calls 1), median (least..greatest)\n\
         units:   GB and MB of payload are powers of ten, kB is 1024 bytes",
        plan.rounds, plan.memory_rounds
    );
}

/// What the binary calls itself.
fn version(binary: &std::path::Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("version unknown").to_string()
}
