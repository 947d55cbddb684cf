//! Messages that appear in the stream, under a fake clock.
