//! What the log says of connections: one record at the end of each, a line on SIGUSR1 in the same
//! words, and all of it as JSON where that was asked for.

mod common;

use common::ws::{reason, request};
use common::{bridge, connect, Proxy, Stream, Target, BINARY, CLOSE, TEXT};
use serde_json::{json, Value};

#[test]
fn the_end_of_a_connection_is_recorded_with_what_went_over_it() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut far) = connect(&proxy, &target);
    peer.send(BINARY, b"four");
    peer.send(BINARY, b"more");
    far.receive(8);
    far.send(b"back");
    peer.receive(4);
    let from = proxy.stderr.count();
    proxy.signal(libc::SIGUSR1);
    let live = proxy.wait_for_log(from, "the report", |line| line.contains("c0.1 open peer="));
    let words = " in=8 out=4 msgs_in=2 msgs_out=1 secs=0.";
    assert!(live.contains(&format!(" target=tcp://{}{words}", target.endpoint)), "{live}");
    peer.close(1000);
    drop(far);
    let end = proxy.wait_for_log(from, "its end", |line| line.contains(" closed "));
    let start = "c0.1 closed code=1000 by=peer why=close";
    assert!(end.contains(&format!("{start}{words}")), "{end}");
}

#[test]
fn a_broken_rule_stands_in_the_record() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, far) = connect(&proxy, &target);
    peer.send(TEXT, b"\xff");
    assert_eq!(peer.expect_close(), 1007);
    drop((peer, far));
    let end = proxy.wait_for_log(0, "its end", |line| line.contains(" closed "));
    assert!(end.contains(" code=1007 by=peer why=protocol-error "), "{end}");
    let (_, error) = end.split_once(" error=\"").expect(&end);
    assert!(error.len() > 5 && error.ends_with('"'), "{end}");
}

/// Also of those that are cut off when the time to drain is over.
#[test]
fn every_connection_has_its_record() {
    let (mut proxy, target) = bridge(&["--drain-timeout", "100ms", "--close-timeout", "1h"]);
    let stuck: Vec<_> = (0..3).map(|_| connect(&proxy, &target)).collect();
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
    let ends = proxy.wait_for_closed(3);
    assert!(ends.iter().all(|end| (end.code, &end.why[..]) == (1001, "shutdown")), "{ends:?}");
    drop(stuck);
}

/// Every line of the log, which must be one object each.
fn objects(proxy: &Proxy) -> Vec<Value> {
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    proxy.stderr.all().iter().map(parse).collect()
}

#[test]
fn as_json_every_line_is_an_object() {
    let (mut proxy, target) = bridge(&["--log-format", "json", "--log-level", "debug"]);
    let (mut peer, mut far) = connect(&proxy, &target);
    peer.send(BINARY, b"four");
    far.receive(4);
    proxy.signal(libc::SIGUSR1);
    proxy.wait_for_log(0, "the report", |line| line.contains("\"message\":\"open\",\"peer\""));
    peer.send(CLOSE, &reason(4001, b"\"code\": 1 \n\xe2\x80\xa8"));
    assert_eq!(peer.expect_close(), 4001);
    drop((peer, far));
    // What a peer says is data.
    let mut hostile = Stream::tcp(proxy.port());
    hostile.send(request("/?encoding=%22,%22code%22:1%0a%00%5c", &[]).as_bytes());
    hostile.receive_until_fin();
    drop(hostile);
    proxy.wait_for_log(0, "its end", |line| line.contains(".2\",\"message\":\"closed"));
    proxy.signal(libc::SIGTERM);
    assert!(proxy.wait_for_exit().success());
    let lines = objects(&proxy);
    // By its number: the second one may have the slot of the first.
    let of = |number: &str, message: &str| {
        let is_its = |l: &&Value| l["connection"].as_str().is_some_and(|id| id.ends_with(number));
        let found = lines.iter().filter(is_its).find(|l| l["message"] == message);
        found.unwrap_or_else(|| panic!("no {message} of {number}: {lines:#?}")).clone()
    };
    let address = format!("tcp://{}", target.endpoint);
    assert_eq!(of(".1", "open")["target"], json!(address));
    let end = of(".1", "closed");
    for (name, value) in [
        ("level", json!("info")),
        ("code", json!(4001)),
        ("by", json!("peer")),
        ("why", json!("close")),
        ("in", json!(4)),
        ("out", json!(0)),
        ("msgs_in", json!(1)),
        ("msgs_out", json!(0)),
    ] {
        assert_eq!(end[name], value, "{name}");
    }
    assert!(end["secs"].is_f64(), "{end}");
    let refused = of(".2", "closed");
    assert_eq!((&refused["level"], &refused["why"]), (&json!("debug"), &json!("refused")));
    let error = refused["error"].as_str().expect("why it was refused");
    assert!(error.starts_with("?encoding= must be") && refused["code"] == 400, "{refused}");
    for line in &lines {
        let time = line["time"].as_str().expect("a time");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
}

#[test]
fn a_failure_to_start_is_an_object_too() {
    let taken = Target::listen();
    let arguments =
        ["--log-format", "json", "--log-level", "off", "--local", &taken.endpoint, "-r", "a:1"];
    let (status, said) = Proxy::fail(&arguments);
    let line: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!((status, &line["level"]), (Some(1), &json!("error")));
    let message = line["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("cannot listen on ws://{}", taken.endpoint)), "{message}");
}
