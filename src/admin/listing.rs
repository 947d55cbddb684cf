//! Every connection as JSON.
//!
//! Owns the names of the members, which scripts go by: one that is here stays. Times are in
//! seconds, and points in time in seconds since 1970.

use std::time::SystemTime;

use crate::proto::json::Writer;
use crate::session::ended::{Ended, Why};
use crate::stats::ConnectionInfo;

/// An array with an object for each.
pub fn json(all: &[ConnectionInfo]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 * all.len() + 3);
    let mut writer = Writer::new(&mut out);
    writer.begin_array();
    for info in all {
        connection(info, &mut writer);
    }
    writer.end_array();
    drop(writer);
    out.push(b'\n');
    out
}

fn connection(info: &ConnectionInfo, writer: &mut Writer) {
    writer.begin_object();
    writer.name("id").string(&info.id.to_string());
    writer.name("state").string(info.state.name());
    text(writer.name("peer"), info.peer);
    text(writer.name("client"), info.client);
    writer.name("route").uint(info.route as u64);
    writer.name("local").string(&info.local);
    writer.name("target").string(&info.target);
    let since = info.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // To the millisecond: what a double holds of more is noise.
    writer.name("since_secs").float(since.as_millis() as f64 / 1000.0);
    let stats = &info.stats;
    writer.name("lasted_secs").float(stats.lasted.as_secs_f64());
    writer.name("bytes_in").uint(stats.bytes_in);
    writer.name("bytes_out").uint(stats.bytes_out);
    writer.name("messages_in").uint(stats.messages_in);
    writer.name("messages_out").uint(stats.messages_out);
    writer.name("buffered").uint(stats.buffered as u64);
    writer.name("pings").uint(u64::from(stats.pings));
    writer.name("round_trip_secs");
    match stats.round_trip {
        Some(time) => writer.float(time.as_secs_f64()),
        None => writer.null(),
    };
    writer.name("ended");
    match info.ended {
        Some(ended) => cause(ended, writer),
        None => {
            writer.null();
        }
    }
    writer.end_object();
}

/// Who ends it and why; of what is answered over HTTP the code is the status.
fn cause(ended: Ended, writer: &mut Writer) {
    let code = match ended.why {
        Why::Refused(status) => status.code(),
        Why::Served(status) => status,
        _ => ended.code.get(),
    };
    writer.begin_object();
    writer.name("code").uint(u64::from(code));
    writer.name("by").string(ended.by.name());
    writer.name("why").string(ended.why.name());
    writer.end_object();
}

fn text(writer: &mut Writer, what: Option<impl ToString>) {
    match what {
        Some(what) => writer.string(&what.to_string()),
        None => writer.null(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::admit::Status;
    use crate::proto::close::CloseCode;
    use crate::session::ended::By;
    use crate::stats::{ConnectionId, ConnectionStats, State};
    use serde_json::{json, Value};
    use std::time::Duration;

    fn info(target: &str) -> ConnectionInfo {
        ConnectionInfo {
            id: ConnectionId { slot: 42, generation: 7 },
            state: State::Open,
            peer: Some("127.0.0.1:4242".parse().unwrap()),
            client: Some("2001:db8::7".parse().unwrap()),
            route: 1,
            local: "ws://127.0.0.1:8080".into(),
            target: target.into(),
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            stats: ConnectionStats {
                bytes_in: u64::MAX,
                bytes_out: 2,
                messages_in: 3,
                messages_out: 4,
                pings: 5,
                round_trip: Some(Duration::from_micros(1500)),
                buffered: 6,
                lasted: Duration::from_millis(2500),
            },
            ended: None,
        }
    }

    #[test]
    fn says_all_that_is_known_of_a_connection() {
        let bare = ConnectionInfo {
            peer: None,
            client: None,
            state: State::Closing,
            stats: ConnectionStats::default(),
            ended: Some(Ended {
                by: By::Proxy,
                why: Why::Refused(Status::BadGateway),
                code: CloseCode::ABNORMAL,
                client: None,
            }),
            ..info("unix:@x")
        };
        let said: Value = serde_json::from_slice(&json(&[info("tcp://a:1"), bare])).unwrap();
        assert_eq!(
            said,
            json!([
                {
                    "id": "c42.7", "state": "open", "peer": "127.0.0.1:4242",
                    "client": "2001:db8::7", "route": 1, "local": "ws://127.0.0.1:8080",
                    "target": "tcp://a:1", "since_secs": 1_700_000_000.123, "lasted_secs": 2.5,
                    "bytes_in": u64::MAX, "bytes_out": 2, "messages_in": 3, "messages_out": 4,
                    "buffered": 6, "pings": 5, "round_trip_secs": 0.0015, "ended": null
                },
                {
                    "id": "c42.7", "state": "closing", "peer": null, "client": null, "route": 1,
                    "local": "ws://127.0.0.1:8080", "target": "unix:@x",
                    "since_secs": 1_700_000_000.123, "lasted_secs": 0.0, "bytes_in": 0, "bytes_out": 0,
                    "messages_in": 0, "messages_out": 0, "buffered": 0, "pings": 0,
                    "round_trip_secs": null, "ended": {"code": 502, "by": "proxy", "why": "refused"}
                }
            ])
        );
        assert_eq!(json(&[]), b"[]\n");
    }

    #[test]
    fn what_a_peer_has_said_cannot_break_out() {
        for target in ["\"},{\"", "\\", "\n\r\0\u{7f}\u{2028}", "é\u{10348}", "</script>"] {
            let said: Value = serde_json::from_slice(&json(&[info(target)])).unwrap();
            assert_eq!(said[0]["target"], target);
        }
    }
}
