//! A link that answers with a page, under a fake clock.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::policy::admit::Status;
use crate::session::ended::{By, Why};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A link that was asked for a page.
fn asked(limits: Limits) -> Script {
    let mut s = Script::new(limits, Messages::default());
    s.web = true;
    s.peer_sends(REQUEST);
    assert!(s.visit.is_some() && !s.dials);
    s
}

#[test]
fn a_page_is_said_and_then_the_end() {
    let mut s = asked(Limits::default());
    s.serve(200, 4);
    s.target_sends(b"page");
    s.ends(TARGET, false);
    assert_eq!(s.got[PEER], b"head page");
    assert!(s.fin[PEER] && s.link.is_done(1) && !s.link.is_over(), "the peer is read to its end");
    s.ends(PEER, false);
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Proxy, "served", 1000));
    assert_eq!((s.link.bytes_from(0), s.link.bytes_from(1)), (0, 4));
}

#[test]
fn a_page_without_a_body_ends_at_once() {
    let mut s = asked(Limits::default());
    s.serve(304, 0);
    assert_eq!((&s.got[PEER][..], s.fin[PEER]), (&b"head "[..], true));
    s.ends(PEER, false);
    assert_eq!((s.link.is_over(), s.ended()), (true, (By::Proxy, "served", 1000)));
}

#[test]
fn what_has_grown_is_cut_at_its_length_and_what_has_shrunk_ends_short() {
    let mut s = asked(Limits::default());
    s.serve(200, 4);
    s.target_sends(b"pages and pages");
    assert_eq!(s.got[PEER], b"head page");
    assert_eq!(s.ended(), (By::Proxy, "served", 1000));
    let mut s = asked(Limits::default());
    s.serve(200, 4);
    s.target_sends(b"pa");
    s.ends(TARGET, false);
    assert_eq!((&s.got[PEER][..], s.fin[PEER]), (&b"head pa"[..], true));
    assert_eq!(s.ended(), (By::Proxy, "served", 1011));
}

#[test]
fn what_else_the_peer_says_is_dropped() {
    let mut s = asked(Limits::default());
    s.serve(200, 4);
    s.peer_sends(REQUEST);
    s.target_sends(b"page");
    s.ends(TARGET, false);
    s.peer_sends(REQUEST);
    assert!(s.visit.is_none());
    assert_eq!(s.got[PEER], b"head page");
    // It never ends by itself: it has the time of a closing.
    s.at(Limits::default().close_timeout + secs(1));
    assert_eq!((s.link.is_over(), s.ended()), (true, (By::Proxy, "served", 1000)));
}

#[test]
fn a_peer_that_has_ended_its_stream_gets_its_page() {
    let mut s = asked(Limits::default());
    s.serve(200, 4);
    s.ends(PEER, false);
    s.at(secs(60));
    s.target_sends(b"page");
    s.ends(TARGET, false);
    assert_eq!((&s.got[PEER][..], s.link.is_over()), (&b"head page"[..], true));
}

#[test]
fn a_page_is_read_no_faster_than_it_is_taken() {
    let mut s = asked(Limits::default());
    s.serve(200, 1 << 20);
    s.takes(PEER, 10);
    s.target_sends(&[b'p'; 1 << 20]);
    assert_eq!(s.got[PEER].len(), 5 + 10);
    assert!(!s.link.may_read(1));
    assert!(s.link.buffered() <= 64 << 10, "{}", s.link.buffered());
    // Slow is not dead, as long as something is taken.
    for _ in 0..4 {
        s.at(secs(50));
        s.takes(PEER, 10);
    }
    assert!(s.link.ended().is_none());
    s.at(secs(61));
    assert_eq!((s.link.is_over(), s.ended()), (true, (By::Peer, "send-timeout", 1011)));
    assert_eq!(s.pool.lent(), 0);
}

#[test]
fn a_reset_ends_it_and_the_page_is_read_no_further() {
    for reset in [true, false] {
        let mut s = asked(Limits::default());
        s.serve(200, 1 << 20);
        s.takes(PEER, 10);
        s.target_sends(&[b'p'; 1 << 20]);
        match reset {
            true => s.ends(PEER, true),
            false => s.with(|link, _, ctx| link.on_write_error(0, ctx)),
        }
        assert!(!s.link.may_read(1) && s.link.is_done(1));
        if !reset {
            s.ends(PEER, true);
        }
        assert_eq!((s.link.is_over(), s.ended()), (true, (By::Peer, "reset", 1011)));
        assert_eq!(s.pool.lent(), 0);
    }
}

#[test]
fn a_refusal_in_its_place_is_told_by_its_status() {
    let mut s = asked(Limits::default());
    s.refuse(Status::NotFound);
    assert!(s.got[PEER].starts_with(b"HTTP/1.1 404 ") && s.fin[PEER]);
    s.ends(PEER, false);
    assert_eq!((s.link.is_over(), s.ended().1), (true, "refused"));
}

#[test]
fn whoever_goes_while_it_is_looked_for_needs_none() {
    let mut s = asked(Limits::default());
    s.with(|link, _, ctx| link.on_failure(0, ctx));
    assert_eq!((s.link.is_over(), s.ended().1), (true, "reset"));
}

#[test]
fn a_page_that_has_begun_is_finished_before_a_stop_and_by_nothing_else() {
    let mut s = asked(Limits::default());
    s.serve(200, 8);
    s.target_sends(b"page");
    let close = |why| {
        move |link: &mut Link, hot: &mut Hot, ctx: &mut Context| {
            link.close(By::Proxy, why, crate::proto::close::CloseCode::GOING_AWAY, hot, ctx);
        }
    };
    s.with(close(Why::Shutdown));
    assert!(s.link.ended().is_none());
    s.target_sends(b"more");
    s.ends(TARGET, false);
    assert_eq!((&s.got[PEER][..], s.ended().1), (&b"head pagemore"[..], "served"));
    let limits = Limits { max_lifetime: Some(secs(9)), ..Limits::default() };
    let mut s = asked(limits);
    s.serve(200, 8);
    s.target_sends(b"page");
    s.at(secs(10));
    assert_eq!((&s.got[PEER][..], s.fin[PEER]), (&b"head page"[..], true));
    assert_eq!((s.link.is_done(1), s.ended().1), (true, "max-lifetime"));
}

#[test]
fn a_page_has_the_rate_of_a_target() {
    let mut s = asked(Limits { rate_out: Some(1000), ..Limits::default() });
    s.serve(200, 20_000);
    s.target_sends(&[b'p'; 20_000]);
    s.at(secs(5));
    let n = s.got[PEER].len();
    assert!((4750..5250).contains(&n), "{n}");
}
