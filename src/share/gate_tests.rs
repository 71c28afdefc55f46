//! The gate's three states, polled by hand.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use futures::FutureExt as _;
use futures::channel::mpsc;
use tokio::sync::watch;

use super::*;

const PLACES: usize = 4;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A pool that is held up while this says so, which it does at first.
fn held_up() -> (Pool, watch::Sender<bool>) {
    let (sender, receiver) = watch::channel(true);
    let hold = move || -> Asked {
        let mut is_held = receiver.clone();
        Box::pin(async move {
            _ = is_held.wait_for(|is_held| !*is_held).await;
        })
    };
    (Pool::new(PLACES).holding(hold), sender)
}

/// What may be begun, and is wished for, beside so many that run.
fn room(gate: &mut Gate, running: usize) -> usize {
    let room = gate.room(running);
    assert_eq!(gate.wishes(running), room);
    room
}

/// Whether something has changed by now.
fn has_changed(gate: &mut Gate) -> bool {
    gate.changes().now_or_never().is_some()
}

/// Whether who waits for a change is woken by this, and finds it.
fn is_told(gate: &mut Gate, change: impl FnOnce()) -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut changes = pin!(gate.changes());
    assert!(changes.as_mut().poll(&mut context).is_pending(), "it is too early");
    change();
    woken.0.load(Ordering::SeqCst) && changes.as_mut().poll(&mut context).is_ready()
}

#[test]
fn an_open_gate_has_room_for_what_is_free_and_lets_a_stock_be_had() {
    let mut gate = Gate::new(&mut Pool::new(PLACES));
    for (running, free) in [(0, 4), (3, 1), (4, 0), (5, 0)] {
        assert_eq!(room(&mut gate, running), free, "beside {running}");
    }
    assert!(!gate.keeps_out());
    assert!(!has_changed(&mut gate));
}

#[test]
fn a_held_gate_begins_nothing_until_what_holds_it_is_over() {
    let (mut pool, is_held) = held_up();
    let mut gate = Gate::new(&mut pool);
    assert!(gate.wishes(1) == 3 && !gate.keeps_out(), "nobody has asked");
    assert_eq!(room(&mut gate, 1), 0);
    assert!(gate.keeps_out());
    assert!(is_told(&mut gate, || is_held.send(false).unwrap()));
    assert_eq!(gate.wishes(1), 3, "before anybody asks again");
    assert_eq!(room(&mut gate, 1), 3);
    assert!(!gate.keeps_out());
    is_held.send(true).unwrap();
    assert_eq!(room(&mut gate, 1), 0, "it is asked for each record");
    assert!(gate.keeps_out());
}

#[test]
fn a_bounded_gate_follows_its_bounds_up_to_its_places_and_the_last_one_holds() {
    let (bounds, stream) = mpsc::unbounded();
    let mut gate = Gate::new(&mut Pool::new(PLACES).bounded(stream));
    assert_eq!(room(&mut gate, 0), 0, "there is no bound yet");
    assert!(gate.keeps_out());
    assert!(is_told(&mut gate, || bounds.unbounded_send(3).unwrap()));
    assert_eq!(room(&mut gate, 1), 2);
    for (bound, free) in [(9, 3), (1, 0), (0, 0), (2, 1)] {
        bounds.unbounded_send(bound).unwrap();
        assert!(has_changed(&mut gate), "{bound}");
        assert_eq!(room(&mut gate, 1), free, "{bound}");
        assert!(gate.keeps_out(), "{bound}");
    }
    drop(bounds);
    for _ in 0..2 {
        assert!(!has_changed(&mut gate), "no other one comes");
        assert_eq!(room(&mut gate, 1), 1);
        assert!(gate.keeps_out());
    }
}

#[test]
fn a_bound_that_comes_while_a_gate_is_held_holds_afterwards() {
    let (bounds, stream) = mpsc::unbounded();
    let (pool, is_held) = held_up();
    let mut gate = Gate::new(&mut pool.bounded(stream));
    assert_eq!(room(&mut gate, 0), 0);
    bounds.unbounded_send(2).unwrap();
    assert!(has_changed(&mut gate));
    assert_eq!(room(&mut gate, 0), 0, "it is held");
    is_held.send(false).unwrap();
    assert!(has_changed(&mut gate));
    assert_eq!(room(&mut gate, 0), 2);
}
