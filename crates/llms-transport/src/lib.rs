//! The stopwatch: HTTP clients that stamp every read (direct: own HTTP/1.1 reader; pooled: reqwest)
