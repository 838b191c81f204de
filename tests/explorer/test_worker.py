"""The worker: newest wins, one thread or none, errors told, a pace."""

import gc
import subprocess
import sys
import threading
import time

import pytest

from oatlib.explorer import worker as module
from oatlib.explorer.worker import Worker


def threads():
    return [t for t in threading.enumerate() if t.name == module.NAME]


@pytest.fixture
def heard():
    return []


@pytest.fixture
def worker(heard):
    made = Worker(heard.append, ("first", "second"))
    yield made
    made.close()


def listing(seen, name, n=3, news=True):
    for i in range(n):
        seen.append((name, i))
        yield news


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.001)


def test_a_job_is_taken_to_its_end_and_then_the_thread_is_gone(worker):
    seen = []
    worker.submit(listing(seen, "a"))
    worker.flush()
    assert seen == [("a", 0), ("a", 1), ("a", 2)] and not threads()


def test_of_the_jobs_that_wait_only_the_newest_begins_and_the_running_one_is_left(worker):
    seen, go, begun = [], threading.Event(), threading.Event()

    def held():
        begun.set()
        go.wait(20)
        yield True
        seen.append("went on")

    worker.submit(held())
    begun.wait(20)
    worker.submit(listing(seen, "b"))
    worker.submit(listing(seen, "c"))
    go.set()
    worker.flush()
    assert seen == [("c", 0), ("c", 1), ("c", 2)]


def test_an_error_is_told_and_the_next_job_works(worker, heard):
    def broken():
        yield True
        raise ValueError("this one")

    seen = []
    worker.submit(broken())
    worker.flush()
    worker.submit(listing(seen, "next"))
    worker.flush()
    assert [str(error) for error in heard] == ["this one"] and len(seen) == 3


def test_meanwhile_work_waits_for_the_job_and_keeps_its_order(worker):
    seen, go = [], threading.Event()

    def job():
        go.wait(20)
        yield from listing(seen, "job", 2)

    worker.submit(job())
    worker.meanwhile("second", listing(seen, "second", 2))
    worker.meanwhile("first", listing(seen, "first", 2))
    go.set()
    worker.flush()
    assert [name for name, _ in seen] == ["job", "job", "first", "first", "second", "second"]


def test_a_job_comes_between_the_items_of_meanwhile_work(worker):
    seen, go, begun = [], threading.Event(), threading.Event()

    def long():
        for i in range(3):
            seen.append(("long", i))
            begun.set()
            go.wait(20)
            yield True

    worker.meanwhile("first", long())
    begun.wait(20)
    worker.submit(listing(seen, "job", 1))
    go.set()
    worker.flush()
    assert seen == [("long", 0), ("job", 0), ("long", 1), ("long", 2)]


def test_meanwhile_work_can_be_taken_away(worker):
    seen, begun, go = [], threading.Event(), threading.Event()

    def long():
        begun.set()
        go.wait(20)
        yield True
        seen.append("went on")

    worker.meanwhile("first", long())
    begun.wait(20)
    worker.meanwhile("first", None)
    go.set()
    worker.flush()
    assert seen == []


def test_paused_a_job_takes_one_step_at_a_time_and_no_thread_waits_for_it(worker):
    seen = []

    def job():
        for i in range(4):
            yield False  # nothing to see yet
            seen.append(i)
            yield True

    worker.pace("pause")
    worker.submit(job())
    worker.flush()
    assert seen == [] and not threads()
    for i in range(2):
        worker.advance()
        worker.flush()
        assert seen == list(range(i + 1)) and not threads()
    worker.pace("run")
    worker.flush()
    assert seen == [0, 1, 2, 3]


def test_meanwhile_work_goes_on_while_the_job_is_paused(worker):
    seen = []
    worker.pace("pause")
    worker.submit(listing(seen, "job"))
    worker.meanwhile("first", listing(seen, "first"))
    worker.flush()
    assert [name for name, _ in seen] == ["first"] * 3


def test_at_a_slow_pace_a_new_job_need_not_wait_for_the_beat(worker, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 1000.0)
    seen = []
    worker.pace("slow")
    worker.submit(listing(seen, "a"))
    wait_for(lambda: ("a", 0) in seen)
    worker.submit(listing(seen, "b"))
    wait_for(lambda: ("b", 0) in seen)
    worker.pace("run")
    worker.flush()
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]


def test_an_unknown_pace_is_refused(worker):
    with pytest.raises(ValueError, match="run, slow, pause, got 'fast'"):
        worker.pace("fast")


def test_idle_work_of_an_unknown_name_is_refused(worker, heard):
    with pytest.raises(
        ValueError, match=r"unknown idle work 'firts' \(did you mean 'first'\?\): use one of first, second"
    ):
        worker.meanwhile("firts", iter(()))
    assert not threads()


@pytest.mark.parametrize(("allowed", "done"), [((), ["job"] * 3), (("second",), ["job"] * 3 + ["second"] * 3)])
def test_idle_work_that_is_not_allowed_is_left_alone(worker, allowed, done):
    seen = []
    worker.restrict_idle_work(*allowed)
    worker.submit(listing(seen, "job"))
    worker.meanwhile("first", listing(seen, "first"))
    worker.meanwhile("second", listing(seen, "second"))
    worker.flush()
    assert [name for name, _ in seen] == done


def test_flush_says_when_it_has_waited_too_long(worker):
    go = threading.Event()

    def held():
        go.wait(20)
        yield True

    worker.submit(held())
    with pytest.raises(TimeoutError, match="still working"):
        worker.flush(0.01)
    go.set()
    worker.flush()


def test_many_threads_that_submit_leave_one_thread_and_the_newest_job(worker):
    latest, done, most = [0], [], [0]
    lock = threading.Lock()

    def job():
        mine = latest[0]  # as the explorer: what to do is read when it begins
        yield False
        most[0] = max(most[0], len(threads()))
        done.append(mine)
        yield True

    def hand():
        for _ in range(250):
            with lock:
                latest[0] += 1
            worker.submit(job())

    hands = [threading.Thread(target=hand) for _ in range(4)]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    worker.flush()
    assert done[-1] == latest[0] == 1000 and most[0] == 1 and not threads()


def test_a_worker_that_nobody_holds_ends_with_its_work_undone(heard):
    def endless():
        while True:
            time.sleep(0.001)
            yield True

    made = Worker(heard.append)
    made.submit(endless())
    wait_for(threads)
    del made
    gc.collect()
    wait_for(lambda: not threads())


def test_close_waits_for_the_item_and_starts_nothing_more(heard):
    seen = []

    def slow():
        for i in range(100):
            time.sleep(0.01)
            seen.append(i)
            yield True

    made = Worker(heard.append)
    made.submit(slow())
    wait_for(lambda: seen)
    made.close()
    count = len(seen)
    made.submit(listing(seen, "late"))
    assert not threads() and len(seen) == count < 100


@pytest.mark.slow
def test_python_ends_cleanly_in_the_middle_of_work():
    program = """
import time, torch
from oatlib.explorer.worker import Worker
def work():
    while True:
        torch.nn.functional.conv2d(torch.rand(32, 16, 32, 32), torch.rand(16, 16, 3, 3))
        yield True
worker = Worker(print)
worker.submit(work())
time.sleep(0.3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
