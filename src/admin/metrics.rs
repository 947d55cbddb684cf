//! Everything together as Prometheus reads it (text format 0.0.4).
//!
//! Owns the names of the metrics, which dashboards and alerts go by: one that is here stays.

use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime};

use crate::stats::{Histogram, Stats};

/// All metrics.
pub fn text(stats: &Stats) -> String {
    let mut out = Text(String::with_capacity(16 << 10));
    out.family("build_info", "gauge", "The version, as a label; always 1.");
    out.line("build_info", &[("version", &env!("CARGO_PKG_VERSION"))], 1);
    let since = stats.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    out.gauge(
        "start_time_seconds",
        "When the proxy was bound, in seconds since 1970.",
        since.as_secs_f64(),
    );
    connections(stats, &mut out);
    traffic(stats, &mut out);
    out.gauge("kept_bytes", "Bytes kept now for ends that do not take them.", stats.pool_bytes);
    out.gauge("kept_limit_bytes", "The most that is kept (--max-memory).", stats.pool_limit);
    out.histogram(
        "handshake_duration_seconds",
        "From accepting a connection to the answer that opened it.",
        &stats.handshake,
    );
    out.histogram(
        "connect_duration_seconds",
        "From the beginning of a dial to the target's answer, lookup included.",
        &stats.connect,
    );
    out.histogram(
        "turn_duration_seconds",
        "Turns of the event loop, each as long as everybody else waited.",
        &stats.turn,
    );
    out.0
}

fn connections(stats: &Stats, out: &mut Text) {
    out.family("connections", "gauge", "Connections there are now, by how far they have come.");
    for (state, count) in
        [("opening", stats.opening), ("open", stats.open), ("closing", stats.closing)]
    {
        out.line("connections", &[("state", &state)], count);
    }
    out.gauge(
        "max_connections",
        "Connections that are served at once (--max-connections).",
        stats.max_connections,
    );
    out.counter("connections_accepted_total", "Connections that were accepted.", stats.accepted);
    out.counter("connections_opened_total", "Those whose target was reached.", stats.opened);
    out.counter(
        "connections_unheard_total",
        "Connections closed as they came, too many of one client (--max-per-client).",
        stats.unheard,
    );
    let name = "connections_refused_total";
    out.family(name, "counter", "Connections that were answered with a refusal.");
    for (status, count) in stats.refused.iter() {
        out.line(name, &[("status", &status.code()), ("reason", &status.name())], count);
    }
    let name = "connections_closed_total";
    out.family(name, "counter", "Other connections that ended, by close code and who ended them.");
    for (code, by, count) in stats.closed.iter() {
        out.line(name, &[("code", &code), ("by", &by.name())], count);
    }
    let name = "pages_total";
    out.family(name, "counter", "Requests that were answered with a page (--web).");
    for (status, count) in stats.pages.iter() {
        match status {
            0 => out.line(name, &[("status", &"other")], count),
            status => out.line(name, &[("status", &status)], count),
        }
    }
}

/// What has gone through; *in* is what clients have said, *out* what targets have.
fn traffic(stats: &Stats, out: &mut Text) {
    for (name, help, [inbound, outbound]) in [
        (
            "bytes_total",
            "Payload bytes, in from clients and out from targets.",
            [stats.bytes_in, stats.bytes_out],
        ),
        (
            "messages_total",
            "Whole WebSocket messages, likewise.",
            [stats.messages_in, stats.messages_out],
        ),
    ] {
        out.family(name, "counter", help);
        out.line(name, &[("direction", &"in")], inbound);
        out.line(name, &[("direction", &"out")], outbound);
    }
    out.counter("pings_total", "Pings that were sent.", stats.pings);
}

/// The text so far. No label's value has anything in it that would have to be escaped: all are our
/// own words.
struct Text(String);

impl Text {
    /// What stands in front of the lines of a metric.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail, here and below.
        let _ = writeln!(self.0, "# HELP ws_tcp_proxy_{name} {help}");
        let _ = writeln!(self.0, "# TYPE ws_tcp_proxy_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let _ = write!(self.0, "ws_tcp_proxy_{name}");
        for (i, (label, what)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{what}\"", if i == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.line(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in Histogram::BOUNDS.into_iter().zip(histogram.counts) {
            below += count;
            let bound = Duration::from_micros(bound).as_secs_f64();
            self.line(&bucket, &[("le", &bound)], below);
        }
        self.line(&bucket, &[("le", &"+Inf")], histogram.count());
        self.line(&format!("{name}_sum"), &[], histogram.sum.as_secs_f64());
        self.line(&format!("{name}_count"), &[], histogram.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::admit::Status;
    use crate::proto::close::CloseCode;
    use crate::session::ended::By;
    use std::collections::HashSet;

    fn sample() -> Stats {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let mut stats = Stats {
            accepted: 12,
            opened: 7,
            opening: 1,
            open: 2,
            closing: 3,
            bytes_in: u64::MAX,
            messages_out: 5,
            ..Stats::new(since)
        };
        stats.refused.count(Status::BadGateway);
        stats.closed.count(CloseCode::NORMAL, By::Peer);
        stats.pages.count(304);
        stats.pages.count(999);
        for micros in [1, 16, 17, 5_000_000, 100_000_000] {
            stats.handshake.add(Duration::from_micros(micros));
        }
        stats
    }

    #[test]
    fn every_figure_is_under_its_name() {
        let text = text(&sample());
        for line in [
            concat!("ws_tcp_proxy_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "ws_tcp_proxy_start_time_seconds 1700000000.25",
            "ws_tcp_proxy_connections{state=\"opening\"} 1",
            "ws_tcp_proxy_connections{state=\"open\"} 2",
            "ws_tcp_proxy_connections{state=\"closing\"} 3",
            "ws_tcp_proxy_connections_accepted_total 12",
            "ws_tcp_proxy_connections_opened_total 7",
            "ws_tcp_proxy_connections_refused_total{status=\"502\",reason=\"bad-gateway\"} 1",
            "ws_tcp_proxy_connections_refused_total{status=\"504\",reason=\"gateway-timeout\"} 0",
            "ws_tcp_proxy_connections_closed_total{code=\"1000\",by=\"peer\"} 1",
            "ws_tcp_proxy_connections_closed_total{code=\"4000-4999\",by=\"proxy\"} 0",
            "ws_tcp_proxy_pages_total{status=\"304\"} 1",
            "ws_tcp_proxy_pages_total{status=\"other\"} 1",
            "ws_tcp_proxy_bytes_total{direction=\"in\"} 18446744073709551615",
            "ws_tcp_proxy_messages_total{direction=\"out\"} 5",
            "ws_tcp_proxy_handshake_duration_seconds_bucket{le=\"0.000016\"} 2",
            "ws_tcp_proxy_handshake_duration_seconds_bucket{le=\"0.000064\"} 3",
            "ws_tcp_proxy_handshake_duration_seconds_bucket{le=\"67.108864\"} 4",
            "ws_tcp_proxy_handshake_duration_seconds_bucket{le=\"+Inf\"} 5",
            "ws_tcp_proxy_handshake_duration_seconds_sum 105.000034",
            "ws_tcp_proxy_handshake_duration_seconds_count 5",
            "ws_tcp_proxy_turn_duration_seconds_bucket{le=\"+Inf\"} 0",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn each_metric_is_explained_once_in_front_of_its_lines() {
        let text = text(&sample());
        let (mut known, mut lines, mut kind) = (HashSet::new(), HashSet::new(), "");
        let mut current = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(known.insert(name), "{name} twice");
                assert!(help.ends_with('.'), "{help}");
                current = name;
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, is) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                assert_eq!(name.ends_with("_total"), is == "counter", "{name}");
                kind = is;
            } else {
                let (key, value) = line.rsplit_once(' ').unwrap();
                assert!(lines.insert(key), "{key} twice");
                value.parse::<f64>().expect(line);
                let name = key.split('{').next().unwrap();
                match kind {
                    "histogram" => assert!(name.starts_with(current), "{line} in {current}"),
                    _ => assert_eq!(name, current),
                }
            }
        }
        assert!(text.ends_with('\n') && known.len() > 15);
    }
}
