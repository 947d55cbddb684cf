//! Names to addresses, off the loop: getaddrinfo(3) blocks.
//!
//! Owns a few helper threads, which start as names come and are never needed for numbers. A name
//! that is asked for again while its answer is under way is not asked for twice. One that nobody
//! can wait for any more is not asked for at all, so that names which nobody answers for, as a
//! peer may send them, hold the others up for no longer than `--connect-timeout`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread;

use mio::Waker;

use super::table::Key;
use crate::session::deadlines::Time;

/// Names that are looked up at once.
const MAX_THREADS: usize = 4;

/// A host name and a port.
type Question = (String, u16);

/// Addresses in the order in which they are to be tried.
pub type Answer = io::Result<Vec<SocketAddr>>;

/// What is being looked up, and for whom.
pub struct Resolver {
    waker: Arc<Waker>,
    threads: Vec<Thread>,
    /// Where the threads put their answers, by number, and where we find them.
    answered: Sender<(usize, Question, Answer)>,
    answers: Receiver<(usize, Question, Answer)>,
    /// No thread is free for these yet.
    queue: VecDeque<Question>,
    /// Who waits for each name, and until when.
    waiting: HashMap<Question, Waiting>,
}

struct Thread {
    questions: Sender<Question>,
    busy: bool,
}

struct Waiting {
    /// `None` is the check at the start.
    who: Vec<Option<Key>>,
    until: Time,
}

impl Resolver {
    /// A resolver that calls `waker` when answers are there.
    pub fn new(waker: Waker) -> Self {
        let (answered, answers) = channel();
        Self {
            waker: Arc::new(waker),
            threads: Vec::new(),
            answered,
            answers,
            queue: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }

    /// Asks for a name at `now`, whose answer is of use until then.
    ///
    /// # Errors
    /// No thread is there, and none could be started.
    pub fn ask(
        &mut self,
        (name, port): (&str, u16),
        who: Option<Key>,
        (now, until): (Time, Time),
    ) -> io::Result<()> {
        let question = (name.to_owned(), port);
        if let Some(waiting) = self.waiting.get_mut(&question) {
            waiting.who.push(who);
            waiting.until = waiting.until.max(until);
            return Ok(());
        }
        let free = self.threads.iter().position(|thread| !thread.busy);
        match free.map_or_else(|| self.start(), Ok) {
            Ok(free) => self.give(free, question.clone()),
            Err(error) if self.threads.is_empty() => return Err(error),
            Err(_) => {
                self.forget_late(now);
                self.queue.push_back(question.clone());
            }
        }
        self.waiting.insert(question, Waiting { who: vec![who], until });
        Ok(())
    }

    /// The next answer that is there: the name, the addresses, and who waits.
    pub fn next(&mut self, now: Time) -> Option<(Question, Answer, Vec<Option<Key>>)> {
        let (number, question, answer) = self.answers.try_recv().ok()?;
        self.threads[number].busy = false;
        self.forget_late(now);
        if let Some(next) = self.queue.pop_front() {
            self.give(number, next);
        }
        let who = self.waiting.remove(&question).map(|waiting| waiting.who).unwrap_or_default();
        Some((question, answer, who))
    }

    /// Drops what has waited for a thread too long, from the front of the queue.
    fn forget_late(&mut self, now: Time) {
        while let Some(next) = self.queue.front() {
            if self.waiting.get(next).is_some_and(|waiting| waiting.until > now) {
                return;
            }
            self.waiting.remove(next);
            self.queue.pop_front();
        }
    }

    fn give(&mut self, number: usize, question: Question) {
        let thread = &mut self.threads[number];
        thread.busy = true;
        // It fails only if the thread has died; then the dial times out.
        let _ = thread.questions.send(question);
    }

    /// Starts one more thread and says which.
    fn start(&mut self) -> io::Result<usize> {
        let number = self.threads.len();
        if number == MAX_THREADS {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (questions, asked) = channel::<Question>();
        let (waker, answered) = (Arc::clone(&self.waker), self.answered.clone());
        thread::Builder::new().name("resolver".into()).stack_size(256 << 10).spawn(move || {
            // Ends when the loop does, which drops the other end.
            for question in asked {
                let addresses = (question.0.as_str(), question.1).to_socket_addrs();
                if answered.send((number, question, addresses.map(Iterator::collect))).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        })?;
        self.threads.push(Thread { questions, busy: false });
        Ok(number)
    }
}
