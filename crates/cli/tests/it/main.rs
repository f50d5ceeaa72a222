//! The program from the outside.

#[cfg(test)]
mod offline;
