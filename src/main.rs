//! The command: argv to a running proxy, and its exit status.

use std::io::Write;
use std::process::ExitCode;

use log::LevelFilter;
use ws_tcp_proxy::cli::{self, Command};
use ws_tcp_proxy::config::Config;
use ws_tcp_proxy::logging::{self, Format};
use ws_tcp_proxy::net::sys;
use ws_tcp_proxy::Proxy;

/// 0 after a graceful stop, 1 when running failed or was cut short, 2 when the command line is wrong.
fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("ws-tcp-proxy: {error}");
            return ExitCode::from(2);
        }
    };
    let said = match command {
        Command::Help(topic) => say(topic.text()),
        Command::Version => say(&format!("{}\n", cli::VERSION)),
        Command::Check { config } => say(&cli::describe(&config, Proxy::BYTES_PER_CONNECTION)),
        Command::Run { config, level, format } => return run(config, level, format),
    };
    // Whoever closed stdout early has seen enough.
    said.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn run(config: Config, level: LevelFilter, format: Format) -> ExitCode {
    sys::tune_allocator();
    logging::start(level, format);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::stderr().write_all(&format.failure(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> std::io::Result<()> {
    // The loop says whether it suffices.
    let _ = sys::raise_descriptor_limit();
    let mut proxy = Proxy::bind(config)?;
    proxy.catch_signals()?;
    let lines: String = proxy.listening().map(|at| format!("listening {at}\n")).collect();
    // A closed stdout is no reason not to serve.
    let _ = say(&lines);
    proxy.run()
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
