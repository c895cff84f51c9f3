//! Names of files under an inbox, and the templates that make them and their keys.
