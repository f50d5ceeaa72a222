use std::io::Write;
use std::process::ExitCode;

use link::Listener;
use ops::keeper::{Request, Response};
use ops::receipt::Receipt;
use ops::recovery::State;
use ops::{List, Text};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// Signs whatever is asked, and writes down which outcomes it is told.
pub(crate) fn main() -> ExitCode {
    let state = super::state();
    let key: &'static Ed25519KeyPair =
        Box::leak(Box::new(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()));
    let listener = Listener::bind(&state.join("run/keeper.sock"), 0o666).unwrap();
    let index: &'static std::sync::atomic::AtomicU64 = Box::leak(Box::default());
    loop {
        let (conn, peer) = listener.accept().unwrap();
        let events = state.join("log/events");
        std::thread::spawn(move || {
            while let Ok((bytes, _)) = conn.recv(ops::MESSAGE_MAX, 0) {
                let answer = match ops::from_bytes::<Request>(&bytes).unwrap() {
                    Request::Hello { .. } => Response::Welcome {},
                    Request::Status {} => Response::Status {
                        log_size: 0,
                        log_root: base::sha256(b""),
                        boot_id: [1; 16],
                        receipt_key: key.public_key().as_ref().try_into().unwrap(),
                        log_key: Text::default(),
                        key_provider: Text::default(),
                        separated: true,
                    },
                    Request::Authorise { operation, .. } => {
                        assert_eq!(peer.uid, super::config().users.control);
                        let index = index.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        // No test lasts so long.
                        let expires_ms = u64::MAX;
                        let signed = Receipt::signed_bytes(index, expires_ms, &operation, &[1; 16]);
                        let signature = key.sign(&signed).as_ref().try_into().unwrap();
                        Response::Authorised {
                            receipt: Receipt { index, expires_ms, operation, boot_id: [1; 16], signature },
                        }
                    }
                    Request::Append { events: told } => {
                        assert!(peer.uid == 0 || !super::separated(), "only the warden tells outcomes here");
                        let mut file =
                            std::fs::OpenOptions::new().append(true).create(true).open(&events).unwrap();
                        for event in told.iter() {
                            let what = event.details.iter().find(|d| &*d.key == "operation");
                            if let Some(what) = what {
                                writeln!(file, "{} {}", what.value, event.outcome).unwrap();
                            }
                        }
                        Response::Appended { first: 0 }
                    }
                    Request::Recovery {} => Response::Recovery {
                        state: State {
                            safe: None,
                            window: None,
                            holders: List::default(),
                            challenge: [0; 32],
                        },
                    },
                    other => panic!("{other:?}"),
                };
                conn.send(&ops::to_bytes(&answer), &[]).unwrap();
            }
        });
    }
}
