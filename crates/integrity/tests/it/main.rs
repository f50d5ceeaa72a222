//! Our signatures and those of others, with tools that we did not write.

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod reference;
