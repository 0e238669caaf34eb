//! Channels over loom's atomics, for sources that name them: `rtrb` 0.4 with its orderings, and the standard library's.
//!
//! What lies in the ring is not modelled: that a slot is read after it was written is the crate's promise and its own
//! tests'. What is, is when an end of the ring learns how far the other has come.

use std::collections::VecDeque;

pub(crate) use std::sync::mpsc::TryRecvError;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};

#[derive(Debug)]
struct Shared<T> {
    capacity: usize,
    tail: AtomicUsize,
    head: AtomicUsize,
    is_abandoned: AtomicBool,
    items: std::sync::Mutex<VecDeque<T>>,
}

#[derive(Debug)]
pub(crate) struct RingBuffer;

#[derive(Debug)]
pub(crate) struct Producer<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub(crate) struct Consumer<T>(Arc<Shared<T>>);

impl RingBuffer {
    #[allow(clippy::new_ret_no_self)]
    pub(crate) fn new<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
        let shared = Arc::new(Shared {
            capacity,
            tail: AtomicUsize::new(0),
            head: AtomicUsize::new(0),
            is_abandoned: AtomicBool::new(false),
            items: std::sync::Mutex::default(),
        });
        (Producer(Arc::clone(&shared)), Consumer(shared))
    }
}

impl<T: Copy> Producer<T> {
    pub(crate) fn slots(&self) -> usize {
        let tail = self.0.tail.load(Ordering::Relaxed);
        self.0.capacity - (tail - self.0.head.load(Ordering::Acquire))
    }

    pub(crate) fn push_entire_slice(&mut self, items: &[T]) -> Result<(), ()> {
        if self.slots() < items.len() {
            return Err(());
        }
        self.0.items.lock().expect("a lock").extend(items);
        let tail = self.0.tail.load(Ordering::Relaxed);
        self.0.tail.store(tail + items.len(), Ordering::Release);
        Ok(())
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.0.is_abandoned.store(true, Ordering::Release);
    }
}

impl<T: Copy> Consumer<T> {
    pub(crate) fn slots(&self) -> usize {
        self.0.tail.load(Ordering::Acquire) - self.0.head.load(Ordering::Relaxed)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.is_abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn read_chunk(&mut self, items: usize) -> Result<Chunk<'_, T>, ()> {
        if self.slots() < items {
            return Err(());
        }
        let items = self.0.items.lock().expect("a lock").iter().take(items).copied().collect();
        Ok(Chunk { ring: self, items })
    }
}

pub(crate) struct Chunk<'a, T> {
    ring: &'a Consumer<T>,
    items: Vec<T>,
}

impl<T> Chunk<'_, T> {
    pub(crate) fn as_slices(&self) -> (&[T], &[T]) {
        (&self.items, &[])
    }

    pub(crate) fn commit_all(self) {
        let shared = &self.ring.0;
        shared.items.lock().expect("a lock").drain(..self.items.len());
        let head = shared.head.load(Ordering::Relaxed);
        shared.head.store(head + self.items.len(), Ordering::Release);
    }
}

/// Messages and how many may still send some, under one lock. Loom's own channel does not try other orders around
/// `try_recv`.
type Queue<T> = Arc<Mutex<(VecDeque<T>, usize)>>;

#[derive(Debug)]
pub(crate) struct Sender<T>(Queue<T>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Queue<T>);

pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Mutex::new((VecDeque::new(), 1)));
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, message: T) -> Result<(), ()> {
        self.0.lock().expect("a lock").0.push_back(message);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().expect("a lock").1 += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // While a model unwinds, its locks are gone.
        if let Ok(mut queue) = self.0.lock() {
            queue.1 -= 1;
        }
    }
}

impl<T> Receiver<T> {
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut queue = self.0.lock().expect("a lock");
        let ended = if queue.1 == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty };
        queue.0.pop_front().ok_or(ended)
    }

    /// Waits by asking again and again.
    pub(crate) fn recv(&self) -> Result<T, TryRecvError> {
        loop {
            match self.try_recv() {
                Err(TryRecvError::Empty) => loom::thread::yield_now(),
                other => return other,
            }
        }
    }
}
