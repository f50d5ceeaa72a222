//! The log from the outside: built with the public functions, verified, tampered with, and checked by programs
//! that share no code with it.

extern crate strongroom_audit as audit;

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tamper;
