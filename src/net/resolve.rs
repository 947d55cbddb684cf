//! Names to addresses, off the loop: getaddrinfo(3) blocks.
//!
//! Owns a helper thread that starts with the first name and is never needed for numbers. A name
//! that is asked for again while its answer is under way is not asked for twice.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread;

use mio::Waker;

use super::table::Key;

/// A host name and a port.
type Question = (String, u16);

/// Addresses in the order in which they are to be tried.
pub type Answer = io::Result<Vec<SocketAddr>>;

/// To the thread and back from it.
type Channels = (Sender<Question>, Receiver<(Question, Answer)>);

/// What is being looked up, and for whom.
pub struct Resolver {
    waker: Arc<Waker>,
    thread: Option<Channels>,
    /// Who waits for each name. `None` is the check at the start.
    waiting: HashMap<Question, Vec<Option<Key>>>,
}

impl Resolver {
    /// A resolver that calls `waker` when answers are there.
    pub fn new(waker: Waker) -> Self {
        Self { waker: Arc::new(waker), thread: None, waiting: HashMap::new() }
    }

    /// Asks for a name.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn ask(&mut self, name: &str, port: u16, who: Option<Key>) -> io::Result<()> {
        let questions = match &mut self.thread {
            Some((questions, _)) => questions,
            none => &none.insert(start(Arc::clone(&self.waker))?).0,
        };
        let question = (name.to_owned(), port);
        let waiting = self.waiting.entry(question.clone()).or_default();
        waiting.push(who);
        if waiting.len() == 1 {
            // It fails only if the thread has died; then the dial times out.
            let _ = questions.send(question);
        }
        Ok(())
    }

    /// The next answer that is there: the name, the addresses, and who waits.
    pub fn next(&mut self) -> Option<(Question, Answer, Vec<Option<Key>>)> {
        let (_, answers) = self.thread.as_ref()?;
        let (question, answer) = answers.try_recv().ok()?;
        let waiting = self.waiting.remove(&question).unwrap_or_default();
        Some((question, answer, waiting))
    }
}

fn start(waker: Arc<Waker>) -> io::Result<Channels> {
    let (questions, asked) = channel::<Question>();
    let (answered, answers) = channel();
    thread::Builder::new().name("resolver".into()).stack_size(256 << 10).spawn(move || {
        // Ends when the loop does, which drops the other end.
        for question in asked {
            let addresses = (question.0.as_str(), question.1).to_socket_addrs();
            if answered.send((question, addresses.map(Iterator::collect))).is_err() {
                return;
            }
            let _ = waker.wake();
        }
    })?;
    Ok((questions, answers))
}
