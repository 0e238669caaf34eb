//! The plain conversation table: by address, without roles, whatever timeouts did.
