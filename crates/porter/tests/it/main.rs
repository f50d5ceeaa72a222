//! The porter as the warden starts it: the real program, another user, inherited descriptors, a real tmpfs, real
//! leases, and PyTorch as the job. Tests that change users or mount need root and say so where they are skipped.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod images;
#[cfg(test)]
mod support;
