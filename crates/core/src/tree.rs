//! The BLAKE3 tree over the chunks of a file.
