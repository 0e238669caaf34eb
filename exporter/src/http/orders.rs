//! Orders: what somebody wants changed. They come by the socket alone, and carry who asks as the kernel says it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Path below which orders are taken.
pub const ORDERS: &str = "/api/v1/do/";
/// Longest wait for an order to be carried out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something somebody wants changed.
#[derive(Debug)]
pub struct Order {
    /// User id of the process that asks (SO_PEERCRED).
    pub by: u32,
    /// What: the path behind [`ORDERS`], `findings/ack`.
    pub what: String,
    /// With what: the query.
    pub with: BTreeMap<String, String>,
    answer: oneshot::Sender<OrderAnswer>,
}

/// What came of an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OrderAnswer {
    /// It was carried out; this is said to whoever asked.
    Done(String),
    /// It makes no sense, and why.
    Wrong(String),
    /// Whoever asked may not.
    Forbidden(String),
}

impl Order {
    /// Builds an order, and the place where its answer comes.
    pub fn new(
        by: u32,
        what: String,
        with: BTreeMap<String, String>,
    ) -> (Self, oneshot::Receiver<OrderAnswer>) {
        let (answer, answered) = oneshot::channel();
        (Self { by, what, with, answer }, answered)
    }

    /// Answers. Whoever asked may have gone.
    pub fn answer(self, answer: OrderAnswer) {
        let _ = self.answer.send(answer);
    }
}

/// Where orders go.
#[derive(Clone)]
pub struct OrderDoor(Arc<dyn Fn(Order) + Send + Sync>);

impl OrderDoor {
    /// Builds a door that hands orders to `take`, which must not wait.
    pub fn new(take: impl Fn(Order) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Hands an order on and waits for what comes of it; `None` where nobody answers.
    pub(super) async fn ask(
        &self,
        by: u32,
        what: String,
        with: BTreeMap<String, String>,
    ) -> Option<OrderAnswer> {
        let (order, answered) = Order::new(by, what, with);
        (self.0)(order);
        timeout(PATIENCE, answered).await.ok()?.ok()
    }
}

impl fmt::Debug for OrderDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderDoor")
    }
}
