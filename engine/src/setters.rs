//! Setters of what embedding programs build: structs that may get more fields, so that no program can name them all.

/// Gives a struct one setter for each of its fields, called like it, for chains that begin with `new` or `default`:
/// `PullConfig::new(url, stream).max_retries(3)`. Fields are listed by type, those that may be absent after the
/// semicolon; one that is not listed does not compile.
macro_rules! setters {
    (
        $struct:ident: $($type:ty { $($field:ident),+ $(,)? })*
        $(; $($some:ty { $($option:ident),+ $(,)? })+)?
    ) => {
        impl $struct {
            $($(
                #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+)*
            $($($(
                #[doc = concat!("Sets [`", stringify!($option), "`](field@Self::", stringify!($option), ").")]
                #[must_use]
                pub fn $option(mut self, $option: impl Into<Option<$some>>) -> Self {
                    self.$option = $option.into();
                    self
                }
            )+)+)?
        }

        const _: fn($struct) = |$struct { $($($field: _,)+)* $($($($option: _,)+)+)? }| ();
    };
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn setters_chain_and_take_values_with_and_without_some() {
        let url: RemoteUrl = "rtmp://host/app/name".parse().unwrap();
        let pull = PullConfig::new(url, "live/a".parse().unwrap()).max_retries(3).linger_ms(5);
        assert_eq!((pull.max_retries, pull.linger_ms), (Some(3), 5));
        assert_eq!(pull.max_retries(None).max_retries, None);
    }
}
