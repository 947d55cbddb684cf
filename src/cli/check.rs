//! What `--check` prints.
//!
//! Owns the words for a configuration that is good. Never decides whether it is.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::units::{size_text, time_text};
use super::usage::printable;
use crate::buf::pool::Pool;
use crate::config::{Access, Config, CredentialFile, Local, Messages, Remote, Route, Subprotocols};
use crate::net::Proxy;
use crate::proto::connect::Form;
use crate::proto::encoding::Encoding;
use crate::proto::framing::Framing;
use crate::proto::proxy_header::Version;
use crate::session::rates::Rates;
use crate::session::Session;

/// The routes, and the most memory that buffers and tables can take.
///
/// `per_connection` is what a connection costs while it keeps nothing, in bytes. Memory of the
/// kernel, of the program text and of the allocator is not counted.
pub fn describe(config: &Config, per_connection: usize) -> String {
    let mut text = String::from("routes:\n");
    for route in &config.routes {
        line(&mut text, format_args!("  {} -> {}", route.local, route.remote));
        line(&mut text, format_args!("    {}", messages(&route.messages)));
        let access = access(route);
        if !access.is_empty() {
            line(&mut text, format_args!("    {}", access.join("; ")));
        }
    }
    let limits = &config.limits;
    let buffer = limits.buffer_size as u64;
    let kept = Pool::worst_case(limits.max_memory, limits.max_connections) as u64;
    let connections = limits.max_connections as u64;
    let framed = config.routes.iter().any(|route| route.messages.framing != Framing::Raw);
    let framer = if framed { Session::FRAMED } else { 0 };
    let per_connection = per_connection.saturating_add(Rates::bytes(limits) + framer);
    let table = connections.saturating_mul(per_connection as u64);
    // Of a request that waits, what has come of it and what came behind it: one head together.
    let heads = connections.saturating_mul(limits.max_head as u64);
    let known = connections.saturating_mul(bytes_per_client(config) as u64);
    let total = [kept, table, known, heads].into_iter().fold(buffer, u64::saturating_add);
    let each = format!("--max-connections {connections} of {per_connection}B");
    text.push_str("memory at worst:\n");
    for (bytes, what) in [
        (buffer, "--buffer-size, one for all"),
        (kept, "--max-memory, for slow sides"),
        (table, &each),
        (known, "who they are, for --max-per-client and --trust-proxy"),
        (heads, "--max-head, if all have asked for something and wait"),
        (total, "in total, socket buffers in the kernel not counted"),
    ] {
        if bytes > 0 {
            line(&mut text, format_args!("  {:>9}  {what}", size_text(bytes)));
        }
    }
    text
}

/// What it takes to know who a connection is from, if that is asked for.
fn bytes_per_client(config: &Config) -> usize {
    let speaks_for_others = |route: &Route| !route.access.proxies.is_empty();
    match config.limits.max_per_client.is_some() || config.routes.iter().any(speaks_for_others) {
        true => Proxy::BYTES_PER_CLIENT,
        false => 0,
    }
}

fn messages(messages: &Messages) -> String {
    let mut text = format!("encoding {}", messages.encoding);
    if messages.text_lossy {
        text.push_str(", text lossy");
    }
    if messages.framing != Framing::Raw {
        text.push_str(", framing ");
        text.push_str(messages.framing.name());
    }
    let asked = |e: &Encoding| *e != messages.encoding && messages.allows(*e);
    let names: Vec<_> = Encoding::ALL.into_iter().filter(asked).map(Encoding::name).collect();
    if !names.is_empty() {
        text.push_str("; on request ");
        text.push_str(&names.join(", "));
    }
    text.push_str("; subprotocols ");
    text.push_str(&match &messages.subprotocols {
        Subprotocols::Any => "any".into(),
        Subprotocols::Listed(names) if names.is_empty() => "none".into(),
        Subprotocols::Listed(names) => names.join(", "),
    });
    if let Some(time) = messages.half_close {
        text.push_str("; half-close ");
        text.push_str(&time_text(time));
    }
    text
}

/// Who names which target to whom, and how each proves who it is.
fn access(route: &Route) -> Vec<String> {
    let file = |path: &Path| printable(&path.display().to_string());
    let mut parts = who(&route.access);
    if let Some(users) = &route.users {
        parts.push(format!("users from {}", file(users)));
    }
    match &route.remote {
        Remote::Token(_) if route.rules.is_empty() => {
            let rules = route.rules.to_string();
            parts.push(rules.replacen("allow nothing", "allow what is listed", 1));
        }
        remote if remote.is_named_by_peer() => parts.push(route.rules.to_string()),
        _ if matches!(route.local, Local::Connect(_)) => parts.push(match route.form {
            Form::Full => "connect full".into(),
            Form::Bare => "connect eager".into(),
        }),
        _ => {}
    }
    if let Remote::WebSocket(url) = &route.remote {
        parts.extend(url.credential.as_ref().map(|credential| match credential {
            CredentialFile::Basic(path) => format!("basic from {}", file(path)),
            CredentialFile::Bearer(path) => format!("bearer from {}", file(path)),
        }));
    }
    parts.extend(route.accept_proxy.then(|| "accept-proxy".into()));
    parts.extend(route.send_proxy.map(|version| match version {
        Version::V1 => "send-proxy v1".into(),
        Version::V2 => "send-proxy v2".into(),
    }));
    parts
}

/// Who may connect.
fn who(access: &Access) -> Vec<String> {
    fn list(what: &str, items: &[impl ToString]) -> Option<String> {
        let items: Vec<_> = items.iter().map(ToString::to_string).collect();
        (!items.is_empty()).then(|| format!("{what} {}", items.join(", ")))
    }
    let file = |kind: &str, path: &Option<PathBuf>| {
        let path = path.as_ref().map(|path| printable(&path.display().to_string()));
        path.map(|path| format!("{kind} from {path}"))
    };
    let files = [file("basic", &access.basic), file("bearer", &access.bearer)];
    let files: Vec<_> = files.into_iter().flatten().collect();
    let shown = (!files.is_empty()).then(|| format!("clients show {}", files.join(" or ")));
    [
        list("origins", &access.origins),
        list("clients", &access.clients),
        list("proxies", &access.proxies),
        shown,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config_of;

    #[test]
    fn describes_who_may_go_where() {
        let line = "-l connect://a:1 -r ws://b/?secret --connect eager --basic-file /x \
                    --proxy-basic-file users \
                    -l connect://a:2 -r connect: --allow any --deny 10.0.0.0/8 --half-close=off \
                    -l tcp://a:3 -r ws://b --bearer-file y --half-close=1500ms --send-proxy v1 \
                    --accept-proxy --trust-proxy ::1 \
                    -l connect://a:4 -r b:1 \
                    -l a:5 -r json: --allow 10.0.0.0/8 --allow unix:/run/app/";
        let text = describe(&config_of(line), 512);
        let (routes, _) = text.split_once("memory").unwrap();
        let lines: Vec<_> = routes
            .lines()
            .map(|line| line.trim_start())
            .map(|line| line.split_once("; subprotocols").map_or(line, |(_, end)| end))
            .collect();
        assert_eq!(
            lines,
            [
                "routes:",
                "connect://a:1 -> ws://b/",
                " binary, base64; half-close 5s",
                "users from users; connect eager; basic from /x",
                "connect://a:2 -> connect:",
                " binary, base64",
                "allow any; deny 10.0.0.0/8",
                "tcp://a:3 -> ws://b/",
                " binary, base64; half-close 1500ms",
                "proxies [::1]; bearer from y; accept-proxy; send-proxy v1",
                "connect://a:4 -> tcp://b:1",
                " binary, base64; half-close 5s",
                "connect full",
                "ws://a:5 -> json:",
                " binary, base64",
                "allow 10.0.0.0/8, unix:/run/app/",
            ]
        );
    }

    #[test]
    fn describes_who_may_connect() {
        let line = "-l a:1 -r ws://b --origin https://app.example --origin *.b.example \
                    --client 10.0.0.0/8 --client fd00::/8 --trust-proxy 127.0.0.1 \
                    --listen-basic-file users --listen-bearer-file tokens --bearer-file ours \
                    -l tcp://a:2 -r b:1 --client 10.0.0.1";
        let text = describe(&config_of(line), 512);
        for line in [
            "    origins https://app.example, *.b.example; clients 10.0.0.0/8, [fd00::/8]; \
             proxies 127.0.0.1; clients show basic from users or bearer from tokens; \
             bearer from ours\n",
            "    clients 10.0.0.1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("  who they are, "), "{text}");
    }

    #[test]
    fn describes_how_messages_appear() {
        let messages = |line: &str| {
            let text = describe(&config_of(line), 512);
            text.lines().nth(2).map(|line| line.trim_start().to_owned()).unwrap()
        };
        let ndjson = "encoding text, framing ndjson; subprotocols none";
        assert_eq!(messages("-r x:1 --framing ndjson"), ndjson);
        let length = "encoding binary, framing length:u32; on request text, base64; \
                      subprotocols binary, base64";
        assert_eq!(messages("-l tcp://a:1 -r ws://x --framing length"), length);
        let each = |line: &str| {
            let text = describe(&config_of(line), 512);
            text.split_once(" 1000 of ").unwrap().1.split_once("B\n").unwrap().0.to_owned()
        };
        assert_eq!(each("-r x:1"), "512");
        assert_eq!(each("-r x:1 --framing lines"), (512 + Session::FRAMED).to_string());
    }

    #[test]
    fn describes_what_a_request_may_name() {
        let access = |line: &str| {
            let text = describe(&config_of(line), 512);
            text.lines().nth(3).map(|line| line.trim_start().to_owned()).unwrap()
        };
        assert_eq!(access("-r query: --allow any:5432"), "allow any:5432");
        assert_eq!(access("-r token:/x"), "allow what is listed");
        assert_eq!(access("-r token:/x --deny any:22"), "allow what is listed; deny any:22");
        assert_eq!(access("-r token:/x --allow a"), "allow a");
    }

    #[test]
    fn describes_routes_and_adds_up_memory() {
        let args = ["-l", "a:1", "-r", "b:2", "-l", "fd:3", "-r", "unix:@x", "--encoding", "text"]
            .into_iter()
            .chain(["--allow-encoding", "text", "--text-lossy", "--max-connections", "2048"])
            .map(Into::into);
        let Ok(crate::cli::Command::Run { config, .. }) = crate::cli::parse(args) else {
            panic!("a good command line");
        };
        let text = "\
routes:
  ws://a:1 -> tcp://b:2
    encoding binary; on request text, base64, chunk; subprotocols binary, base64
  fd:3 -> unix:@x
    encoding text, text lossy; subprotocols none
memory at worst:
     256KiB  --buffer-size, one for all
      64MiB  --max-memory, for slow sides
       1MiB  --max-connections 2048 of 512B
      16MiB  --max-head, if all have asked for something and wait
    81.2MiB  in total, socket buffers in the kernel not counted
";
        assert_eq!(describe(&config, 512), text);
        assert!(describe(&config, usize::MAX).contains("16777215.9TiB  in total"));
    }
}
