//! What only PostgreSQL has: its connections break and come back, and other nodes write.
