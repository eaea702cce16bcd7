//! Names of enumerations, as configurations, JSON, logs and terminals have them.

/// Gives an enumeration `as_str` and `Display`. The names are those of its serialized form.
macro_rules! named {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// The name as in JSON and in configurations.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        #[cfg(test)]
        impl crate::named::Named for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
        }
    };
}

/// All values of an enumeration, to compare its names with its serialized form.
#[cfg(test)]
pub(crate) trait Named: Copy + serde::Serialize + std::fmt::Display + 'static {
    const ALL: &'static [Self];
}

#[cfg(test)]
mod tests {
    use super::Named;
    use crate::*;

    fn check<T: Named>() {
        for value in T::ALL {
            assert_eq!(serde_json::to_value(value).unwrap(), value.to_string());
        }
    }

    #[test]
    fn an_enumeration_is_called_the_same_everywhere() {
        check::<Takeover>();
        check::<StartAt>();
        check::<Action>();
        check::<Protocol>();
        check::<Door>();
        check::<SessionRole>();
        check::<StreamState>();
        check::<RelayDirection>();
        check::<RelayState>();
        check::<FileState>();
        check::<RecordingState>();
        check::<RecordWhen>();
        check::<RecordFormat>();
        check::<OnRefusal>();
        check::<FlushKind>();
        check::<PullWhen>();
        check::<HttpRole>();
    }
}
