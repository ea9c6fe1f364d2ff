use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::fixtures::Sink;

fn line(text: &str) -> Item {
    Item::Line(format!("{text}\n"))
}

/// A file that is slow: it says when a write begins and ends it when told.
struct Slow {
    begins: Sender<Vec<u8>>,
    go: Receiver<()>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.begins.send(bytes.to_vec()).unwrap();
        let _ = self.go.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
    let ((begins, began), (go, goes)) = (channel(), channel());
    let (queue, writer) = Queue::start(Box::new(Slow { begins, go: goes }), Form::Text, 4).unwrap();
    queue.offer(line("first"));
    assert_eq!(began.recv().unwrap(), b"first\n");
    for name in ["a", "b", "c", "d", "dropped", "dropped", "dropped"] {
        queue.offer(line(name));
    }
    assert_eq!((queue.dropped_lines(), queue.dropped_records()), (3, 0));
    go.send(()).unwrap();
    assert_eq!(began.recv().unwrap(), b"a\nb\nc\nd\n");
    go.send(()).unwrap();
    drop(writer);
}

#[test]
fn a_file_that_hangs_does_not_hang_the_end_of_the_process() {
    let ((begins, began), (_go, goes)) = (channel(), channel());
    let (queue, writer) = Queue::start(Box::new(Slow { begins, go: goes }), Form::Text, 1).unwrap();
    queue.offer(line("first"));
    began.recv().unwrap();
    queue.offer(line("the queue is full"));
    // Ends, or the test runner's patience does.
    drop(writer);
}

#[test]
fn a_flush_waits_for_what_went_before() {
    let sink = Sink::default();
    let (queue, writer) = Queue::start(Box::new(sink.clone()), Form::Text, 1024).unwrap();
    for number in 0..100 {
        queue.offer(line(&number.to_string()));
    }
    writer.flush();
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    assert_eq!(sink.text(), expected);
}

#[test]
fn dropping_the_writer_writes_what_is_queued() {
    let sink = Sink::default();
    let (queue, writer) = Queue::start(Box::new(sink.clone()), Form::Text, 1024).unwrap();
    queue.offer(line("last words"));
    drop(writer);
    assert_eq!(sink.text(), "last words\n");
    queue.offer(line("too late"));
    assert_eq!(queue.dropped_lines(), 1);
}

#[test]
fn a_file_that_fails_does_not_end_the_log() {
    struct Failing {
        inner: Sink,
        failures: u32,
    }
    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            self.inner.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let file = Failing { inner: sink.clone(), failures: 1 };
    let (queue, writer) = Queue::start(Box::new(file), Form::Text, 16).unwrap();
    queue.offer(line("lost"));
    writer.flush();
    queue.offer(line("kept"));
    writer.flush();
    assert_eq!(sink.text(), "kept\n");
}
