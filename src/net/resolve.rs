//! Names to addresses, off the loop: getaddrinfo(3) blocks.
//!
//! Owns a few helper threads, which start as names come and are never needed for numbers. A name
//! that is asked for again while its answer is under way is not asked for twice. One that nobody
//! waits for any more is not asked for at all, and forgotten.
//!
//! Peers may send names that no server answers for, each of which holds a thread for seconds: they
//! never get the last one, which is for the names of the command line.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread;

use mio::Waker;

use crate::stats::ConnectionId;

/// Names that are looked up at once.
const MAX_THREADS: usize = 9;

/// Of these, names that a peer has sent.
const MAX_FOR_PEERS: usize = MAX_THREADS - 1;

/// A host name and a port.
pub type Question = (String, u16);

/// Addresses in the order in which they are to be tried.
pub type Answer = io::Result<Vec<SocketAddr>>;

/// What is being looked up, and for whom.
pub struct Resolver {
    waker: Arc<Waker>,
    threads: Vec<Thread>,
    /// Where the threads put their answers, by number, and where we find them.
    answered: Sender<(usize, Question, Answer)>,
    answers: Receiver<(usize, Question, Answer)>,
    /// No thread is free for these yet: names of peers, and of the command line.
    queues: [VecDeque<Question>; 2],
    /// Who waits for each name that is queued or looked up. `None` is the check at the start.
    waiting: HashMap<Question, Vec<Option<ConnectionId>>>,
}

struct Thread {
    questions: Sender<Question>,
    /// Whose name it looks up.
    busy: Option<Asker>,
}

/// Who sent a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Whoever connected.
    Peer,
    /// Whoever wrote the command line.
    Operator,
}

impl Resolver {
    /// A resolver that calls `waker` when answers are there.
    pub fn new(waker: Arc<Waker>) -> Self {
        let (answered, answers) = channel();
        Self {
            waker,
            threads: Vec::new(),
            answered,
            answers,
            queues: Default::default(),
            waiting: HashMap::new(),
        }
    }

    /// Asks for a name.
    ///
    /// # Errors
    /// No thread is there, and none could be started.
    pub fn ask(
        &mut self,
        question: Question,
        who: Option<ConnectionId>,
        asker: Asker,
    ) -> io::Result<()> {
        if let Some(waiting) = self.waiting.get_mut(&question) {
            waiting.push(who);
            return Ok(());
        }
        match self.free(asker) {
            Ok(free) => self.give(free, question.clone(), asker),
            Err(error) if self.threads.is_empty() => return Err(error),
            Err(_) => self.queues[asker as usize].push_back(question.clone()),
        }
        self.waiting.insert(question, vec![who]);
        Ok(())
    }

    /// That connection does not wait any more.
    pub fn forget(&mut self, question: &Question, who: ConnectionId) {
        let Some(waiting) = self.waiting.get_mut(question) else { return };
        waiting.retain(|waits| *waits != Some(who));
        if waiting.is_empty() {
            for queue in &mut self.queues {
                if let Some(at) = queue.iter().position(|queued| queued == question) {
                    queue.remove(at);
                    // One that is being looked up stays, so that it is not asked for twice.
                    self.waiting.remove(question);
                }
            }
        }
    }

    /// The next answer that is there: the name, the addresses, and who waits.
    pub fn next(&mut self) -> Option<(Question, Answer, Vec<Option<ConnectionId>>)> {
        let (number, question, answer) = self.answers.try_recv().ok()?;
        self.threads[number].busy = None;
        for asker in [Asker::Operator, Asker::Peer] {
            if let (false, Ok(free)) = (self.queues[asker as usize].is_empty(), self.free(asker)) {
                if let Some(next) = self.queues[asker as usize].pop_front() {
                    self.give(free, next, asker);
                }
            }
        }
        let who = self.waiting.remove(&question).unwrap_or_default();
        Some((question, answer, who))
    }

    /// A thread that may look up a name of that asker: an idle one, or a new one.
    fn free(&mut self, asker: Asker) -> io::Result<usize> {
        let for_peers = self.threads.iter().filter(|t| t.busy == Some(Asker::Peer)).count();
        if asker == Asker::Peer && for_peers == MAX_FOR_PEERS {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let idle = self.threads.iter().position(|thread| thread.busy.is_none());
        idle.map_or_else(|| self.start(), Ok)
    }

    fn give(&mut self, number: usize, question: Question, asker: Asker) {
        let thread = &mut self.threads[number];
        thread.busy = Some(asker);
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
        self.threads.push(Thread { questions, busy: None });
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 0 }
    }

    /// One whose threads for peers wait for a server that does not answer.
    fn occupied() -> (Resolver, Poll) {
        let poll = Poll::new().unwrap();
        let mut resolver = Resolver::new(Arc::new(Waker::new(poll.registry(), Token(0)).unwrap()));
        for _ in 0..MAX_FOR_PEERS {
            resolver.threads.push(Thread { questions: channel().0, busy: Some(Asker::Peer) });
        }
        (resolver, poll)
    }

    #[test]
    fn a_name_that_nobody_waits_for_is_forgotten() {
        let (mut resolver, _poll) = occupied();
        let name = |n: u32| (format!("n{n}"), 80);
        for slot in 0..100 {
            resolver.ask(name(slot / 2), Some(id(slot)), Asker::Peer).unwrap();
        }
        assert_eq!((resolver.queues[0].len(), resolver.waiting.len()), (50, 50));
        resolver.forget(&name(0), id(0));
        assert_eq!(resolver.waiting[&name(0)], [Some(id(1))], "another waits for it");
        for slot in 1..100 {
            resolver.forget(&name(slot / 2), id(slot));
        }
        assert!(resolver.queues[0].is_empty() && resolver.waiting.is_empty());
    }

    /// A number is answered without a server.
    #[test]
    fn names_of_peers_leave_a_thread_for_those_of_the_command_line() {
        let (mut resolver, mut poll) = occupied();
        resolver.ask(("late".into(), 80), Some(id(1)), Asker::Peer).unwrap();
        let ours = ("127.0.0.1".to_owned(), 80);
        resolver.ask(ours.clone(), Some(id(2)), Asker::Operator).unwrap();
        poll.poll(&mut mio::Events::with_capacity(1), None).unwrap();
        let (question, answer, who) = resolver.next().expect("the answer it was woken for");
        assert_eq!((question, who), (ours, vec![Some(id(2))]));
        assert_eq!(answer.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(resolver.queues[0].len(), 1, "nor does that one take it afterwards");
    }
}
