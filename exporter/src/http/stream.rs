//! News of each publication, as server-sent events: a few words, after which who wants more asks for the latest.
//!
//! Nothing is queued for a reader. When it has room for another event it is given the latest one and told how many it
//! skipped; one that does not read holds a few hundred bytes and nobody up.
//!
//! # Sources
//!
//! WHATWG, HTML, "Server-sent events": lines `event`, `id`, `data`, `retry`; a line that begins with a colon says
//! nothing; a reader that comes back sends `Last-Event-ID`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::publication::Publication;

/// Readers at once.
pub(super) const READERS_MAX: usize = 64;
/// Silence after which a word without meaning is sent, so that who is gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);
/// Milliseconds after which a reader whose stream ended comes back.
const RETRY: u32 = 1_000;

/// What one reader is told, one publication after another, until its time is up.
pub(super) struct Stream {
    next: Pin<Box<dyn Future<Output = (Option<Bytes>, Reader)> + Send>>,
    is_over: bool,
}

/// Where a reader stands.
struct Reader {
    receiver: watch::Receiver<Arc<Publication>>,
    /// The last tick it was told of.
    told: Option<u64>,
    is_greeted: bool,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// Begins to tell; `told` is the last tick the reader says it knows.
    pub(super) fn new(
        receiver: watch::Receiver<Arc<Publication>>,
        told: Option<u64>,
        span: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let reader =
            Reader { receiver, told, is_greeted: false, until: Instant::now() + span, _place: place };
        Self { next: Box::pin(reader.next()), is_over: false }
    }
}

impl Reader {
    /// Waits for what the reader does not know yet; nothing once its time is up or the daemon ends.
    async fn next(mut self) -> (Option<Bytes>, Self) {
        if self.is_greeted {
            let patience = self.until.min(Instant::now() + SILENCE);
            match timeout_at(patience, self.receiver.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return (None, self),
                Err(_) if Instant::now() >= self.until => return (None, self),
                Err(_) => return (Some(Bytes::from_static(b":\n\n")), self),
            }
            if Instant::now() >= self.until {
                return (None, self);
            }
        }
        let event = {
            let publication = self.receiver.borrow_and_update();
            let tick = publication.vitals.ticks;
            // A tick before the last one is another daemon's.
            let missed = self.told.map_or(0, |told| tick.saturating_sub(told).saturating_sub(1));
            self.told = Some(tick);
            let retry = if self.is_greeted { String::new() } else { format!("retry: {RETRY}\n") };
            format!(
                "{retry}event: tick\nid: {tick}\ndata: {{\"tick\":{tick},\"at\":\"{}\",\"missed\":{missed},\"findings\":{}}}\n\n",
                publication.assessment.snapshot.at,
                publication.assessment.findings.len(),
            )
        };
        self.is_greeted = true;
        (Some(event.into()), self)
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let (event, reader) = ready!(self.next.as_mut().poll(context));
        self.next = Box::pin(reader.next());
        self.is_over = event.is_none();
        Poll::Ready(event.map(|event| Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use portolan_flowtable::Timestamp;
    use tokio::sync::Semaphore;

    use super::*;

    fn at(tick: u64) -> Arc<Publication> {
        let mut publication = Publication::empty("web-03", "0.1.0", Timestamp(0));
        publication.vitals.ticks = tick;
        Arc::new(publication)
    }

    fn place() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
    }

    async fn told(stream: &mut Stream) -> Option<String> {
        let frame = stream.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_falls_behind_is_given_the_latest_and_told_how_many_it_skipped() {
        let (sender, receiver) = watch::channel(at(7));
        let mut stream = Stream::new(receiver, None, Duration::from_secs(60), place());
        assert!(told(&mut stream).await.unwrap().contains("\"tick\":7"));
        for tick in 8..=20 {
            sender.send(at(tick)).unwrap();
        }
        let late = told(&mut stream).await.unwrap();
        assert!(late.contains("\"tick\":20") && late.contains("\"missed\":12"), "{late}");
        sender.send(at(21)).unwrap();
        assert!(told(&mut stream).await.unwrap().contains("\"missed\":0"));
        drop(sender);
        assert_eq!(told(&mut stream).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_is_told_what_it_missed_meanwhile() {
        #[rustfmt::skip]
        let cases = [
            // known     tick   missed
            (Some(4),    9,     4),
            (Some(8),    9,     0),
            (Some(9),    9,     0),
            (Some(500),  9,     0), // of a daemon before this one
            (None,       9,     0),
        ];
        for (known, tick, missed) in cases {
            let (_sender, receiver) = watch::channel(at(tick));
            let mut stream = Stream::new(receiver, known, Duration::from_secs(60), place());
            let first = told(&mut stream).await.unwrap();
            assert!(first.contains(&format!("\"missed\":{missed},")), "{known:?} {first}");
            assert!(first.starts_with("retry: 1000\nevent: tick\nid: 9\n"), "{first}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_now_and_then_and_the_stream_ends_in_time() {
        let (_sender, receiver) = watch::channel(at(1));
        let mut stream = Stream::new(receiver, None, Duration::from_secs(40), place());
        let mut heard = Vec::new();
        while let Some(event) = told(&mut stream).await {
            heard.push(event);
        }
        assert_eq!(heard.len(), 3, "a tick and two empty words: {heard:?}");
    }
}
