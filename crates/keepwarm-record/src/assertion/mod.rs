//! Assertions: a name, a relation and a bound that a record is judged by.
