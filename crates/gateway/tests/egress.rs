//! What leaves in answers: no byte that was not granted before, however many ask at once.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends by panicking")]

mod common;

use std::sync::atomic::Ordering;

use common::{INFER, Model, Node, api_key, code, stored, until};
use net::block_on;
use ops::List;
use ops::event::{EventKind, Outcome};
use ops::lease::{Grant, Grants};

const ROW: &str = r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[5.5,1,2]}]}"#;
/// A few dozen answers.
const CAP: u64 = 5000;

/// Asks until it is refused; how many bytes came before, and the refusal.
fn drain(node: &Node) -> (u64, u16, String) {
    let mut came = 0;
    loop {
        let (status, text, _) = node.infer(&api_key(1).text(), INFER, ROW);
        if status != 200 {
            return (came, status, code(&text));
        }
        came += u64::try_from(text.len()).unwrap();
    }
}

#[test]
fn no_more_leaves_than_is_granted_and_then_it_goes_on() {
    let node = Node::start(&Model::Row, true);
    node.cap.store(CAP, Ordering::SeqCst);
    node.push(1, vec![stored(1, 1_000_000)]).unwrap();
    node.settle();
    let came = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| drain(&node))).collect();
        let drained = clients.into_iter().map(|client| client.join().unwrap());
        drained
            .map(|(came, status, code)| {
                assert_eq!((status, code.as_str()), (429, "SR-GWY-0116"));
                came
            })
            .sum::<u64>()
    });
    assert!(came <= CAP, "{came} bytes left");
    assert!(came > CAP / 2, "only {came} bytes left, so the refusal says nothing");
    let refused = until("record of the refusal", || {
        let events = node.keeper.as_ref().unwrap().events();
        events.into_iter().find(|e| e.kind == EventKind::Inference && e.outcome == Outcome::Failure)
    });
    assert!(refused.reason.as_str().contains("within a day"), "{}", refused.reason);
    // What describes the model is counted as well.
    let bearer = format!("Bearer {}", api_key(1).text());
    let headers = [("authorization", bearer.as_str())];
    let call = net::Call { headers: &headers, ..net::Call::get("/v2/models/m") };
    assert_eq!(block_on(net::https::request(&node.target, call)).unwrap().unwrap().status, 429);
    // A push of the policy gives nothing back.
    node.push(2, vec![stored(1, 1_000_000)]).unwrap();
    assert_eq!(drain(&node).0, 0);
    node.cap.store(10 * CAP, Ordering::SeqCst);
    until("an answer, now that more is granted", || {
        (node.infer(&api_key(1).text(), INFER, ROW).0 == 200).then_some(())
    });
}

#[test]
fn grants_that_come_late_or_are_for_another_gateway_give_nothing() {
    let node = Node::start(&Model::Row, true);
    node.cap.store(0, Ordering::SeqCst);
    node.push(1, vec![stored(1, 1_000_000)]).unwrap();
    node.settle();
    assert_eq!(drain(&node), (0, 429, "SR-GWY-0116".to_owned()));
    let give = |seq, boot| {
        let grants = List::clip(vec![Grant { key: 1, bytes: 1 << 40, low: 0, refused: false }]);
        block_on(net::push::lease(&node.config.gateway_socket(), Grants { seq, boot, grants })).unwrap()
    };
    // The harness had the first exchange, in which the answer of before was refused.
    let late = give(1, 0).unwrap_err().to_string();
    assert!(late.contains("a later exchange came before"), "{late}");
    // The grants of the harness end here: they come before this one now.
    let uses = give(u64::MAX - 1, 0).unwrap();
    assert!(uses.uses.iter().all(|told| told.left == 0), "{uses:?}");
    assert_eq!(drain(&node).0, 0);
    // The control: to this gateway the same grant is good.
    give(u64::MAX, uses.boot).unwrap();
    until("an answer, now that bytes are granted", || {
        (node.infer(&api_key(1).text(), INFER, ROW).0 == 200).then_some(())
    });
}
