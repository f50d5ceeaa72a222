//! The keeper as a process: started, asked, killed, starved and lied to.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod safe_mode;
#[cfg(test)]
mod support;
