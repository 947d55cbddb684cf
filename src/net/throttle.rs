//! One of many like messages, each minute: what anybody can repeat at will must not fill the log.

use std::time::Duration;

use crate::session::deadlines::Time;

const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Lets one through, and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    next: Option<Time>,
    unsaid: u64,
}

impl Throttle {
    /// What to add to the message; `None` if it is not to be said now.
    pub fn say(&mut self, now: Time) -> Option<String> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + SAY_AGAIN);
        match std::mem::take(&mut self.unsaid) {
            0 => Some(String::new()),
            n => Some(format!(" ({n} more in the last minute)")),
        }
    }
}
