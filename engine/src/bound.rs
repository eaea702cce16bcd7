//! Bounds that are constants, and the switch by which `tests/self-check` takes one of all bounds away.

/// A number or a rule that is kept against peers, files and callers. It names the test that fails without it.
#[derive(Debug, Clone, Copy)]
pub struct Bound<T> {
    stated: T,
    #[cfg(feature = "self-check")]
    name: &'static str,
    #[cfg(feature = "self-check")]
    without: T,
}

impl<T: Copy> Bound<T> {
    /// One of this module path and name; `without` it, everything is allowed.
    #[cfg_attr(
        not(feature = "self-check"),
        expect(unused_variables, reason = "builds for use cannot take it away")
    )]
    pub const fn new(name: &'static str, stated: T, without: T) -> Self {
        Self {
            stated,
            #[cfg(feature = "self-check")]
            name,
            #[cfg(feature = "self-check")]
            without,
        }
    }

    /// What the source says: for tests, and for other constants. What keeps the bound takes [`Self::get`].
    pub const fn stated(self) -> T {
        self.stated
    }

    /// What is kept to.
    #[cfg(not(feature = "self-check"))]
    #[inline(always)]
    pub const fn get(self) -> T {
        self.stated
    }

    /// What is kept to: all is allowed where this bound is the one that is taken away.
    #[cfg(feature = "self-check")]
    pub fn get(self) -> T {
        if without() == Some(self.name) { self.without } else { self.stated }
    }
}

/// The bound that this process is to go without: `STREAMENGINE_WITHOUT`, as `tests/self-check --list` shows them.
#[cfg(feature = "self-check")]
pub(crate) fn without() -> Option<&'static str> {
    static NAME: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("STREAMENGINE_WITHOUT").ok());
    NAME.as_deref()
}

/// Declares bounds: `const MAX_THINGS: usize = 8, without usize::MAX;`. Their comments name a test, as `(test `...`)`.
#[doc(hidden)]
#[macro_export]
macro_rules! bound {
    ($($(#[$about:meta])* $vis:vis const $NAME:ident: $type:ty = $stated:expr, without $without:expr;)+) => {$(
        $(#[$about])*
        $vis const $NAME: $crate::Bound<$type> =
            $crate::Bound::new(concat!(module_path!(), "::", stringify!($NAME)), $stated, $without);
    )+};
}
