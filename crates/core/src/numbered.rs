//! Things that are told apart by a type byte: records of the log, messages on the wire.

/// Makes an enum of protobuf bodies, each with the byte that stands for it. Bytes are never reused.
macro_rules! numbered {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $kind:literal $variant:ident($body:ty),)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant($body),)*
        }

        impl $name {
            /// The type byte.
            #[must_use]
            pub fn kind(&self) -> u8 {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }

            /// The name, as documents and tools print it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                }
            }

            /// Every type byte: for fuzzing and tests.
            #[must_use]
            pub fn kinds() -> &'static [u8] {
                &[$($kind,)*]
            }

            /// Length of the encoded body in bytes.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                use prost::Message as _;
                match self {
                    $(Self::$variant(body) => body.encoded_len(),)*
                }
            }

            /// Appends the encoded body to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                use prost::Message as _;
                match self {
                    $(Self::$variant(body) => body.encode(out).expect("a Vec always has room"),)*
                }
            }

            /// Decodes the body of what `kind` stands for; `Ok(None)` when this version does not
            /// know that.
            ///
            /// # Errors
            /// When the body is not of that type.
            pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, prost::DecodeError> {
                use prost::Message as _;
                match kind {
                    $($kind => <$body>::decode(body).map(Self::$variant).map(Some),)*
                    _ => Ok(None),
                }
            }
        }
    };
}

pub(crate) use numbered;
