//! The program from the outside.

#[cfg(test)]
mod inspecting;
#[cfg(test)]
mod offline;
