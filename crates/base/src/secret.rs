//! Key material that does not leak by accident.

use std::fmt;

use zeroize::Zeroize;

/// A boxed secret, wiped on drop. It cannot be cloned, printed, compared or serialised.
pub struct Secret<T: Zeroize>(Box<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes custody of a value.
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }

    /// Lets `use_it` see the value.
    pub fn expose<R>(&self, use_it: impl FnOnce(&T) -> R) -> R {
        use_it(&self.0)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", Secret::new([7u8; 32])), "Secret(..)");
    }
}
