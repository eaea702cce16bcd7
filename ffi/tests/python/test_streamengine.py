"""The promises of streamengine.py."""

import ast
import asyncio
import ctypes.util
import gc
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
import unittest.mock
import urllib.error
import urllib.request
from pathlib import Path

import streamengine
from streamengine import Codec, Door, Engine, Error, EventType, Format, FrameFlags, RelayState, Status

HEADER = Path(os.environ["STREAMENGINE_HEADER"]).read_text()
CLIP = os.environ["STREAMENGINE_CLIP"]
AAC_CONFIG = b"\x11\x90"
AAC_FRAME = b"\x21\x10\x04\x60\x8c\x1c"


def wait_for(what, patience=30.0):
    """Asks until there is an answer."""
    until = time.monotonic() + patience
    while not (answer := what()):
        if time.monotonic() > until:
            raise AssertionError("it did not come to pass")
        time.sleep(0.005)
    return answer


def started(engine=None):
    engine = engine or Engine()
    engine.start()
    return engine


def run(program, *arguments, **options):
    """Starts a Python program of its own."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


class SameAsTheHeader(unittest.TestCase):
    def test_numbers(self):
        pairs = {"status": streamengine.Status, "codec": Codec, "format": Format, "event_type": EventType,
                 "relay_direction": streamengine.RelayDirection, "relay_state": RelayState,
                 "log_level": streamengine.LogLevel, "file_state": streamengine.FileState,
                 "stream_state": streamengine.StreamState, "auth_action": streamengine.AuthAction,
                 "door": streamengine.Door}
        for name, ours in pairs.items():
            body = re.search(rf"enum se_{name}\n.*?\n \{{\n(.*?)\n\}};", HEADER, re.DOTALL)[1]
            theirs = {key: int(value) for key, value in re.findall(r"^  SE_(\w+) = (-?\d+),$", body, re.MULTILINE)}
            prefixes = r"^(E|CODEC|FORMAT|EVENT|RELAY|LOG|FILE|STREAM|AUTH|DOOR)_(?!NO_MEMORY$)"
            if name == "status":
                prefixes = r"^E_"
            if name == "event_type":
                prefixes = r"^EVENT_"
            stripped = {re.sub(prefixes, "", key): value for key, value in theirs.items()}
            self.assertEqual(stripped, {member.name: member.value for member in ours}, name)

    def test_flags(self):
        for prefix, ours in (("FRAME", FrameFlags), ("STATS", streamengine.StatsFlags), ("KICK", streamengine.KickWho)):
            theirs = {key: int(value) for key, value in re.findall(rf"^#define SE_{prefix}_(\w+) (\d+)$", HEADER, re.M)}
            self.assertEqual(theirs, {member.name: member.value for member in ours if member.value}, prefix)

    def test_functions(self):
        theirs = set(re.findall(r"^(?:SE_API )?[\w *]+?\b(se_\w+)\(", HEADER, re.MULTILINE))
        self.assertGreater(len(theirs), 50)
        self.assertEqual(theirs, set(streamengine._FUNCTIONS))

    def test_structures(self):
        for name, ours in (("event", streamengine._Event), ("frame", streamengine._Frame),
                           ("log_record", streamengine._LogRecord), ("relay_status", streamengine._RelayStatus),
                           ("file_status", streamengine._FileStatus), ("auth_info", streamengine._AuthInfo),
                           ("engine_stats", streamengine._EngineStats), ("stream_stats", streamengine._StreamStats)):
            body = re.search(rf"typedef struct se_{name} \{{(.*?)\n\}} se_{name};", HEADER, re.DOTALL)[1]
            code = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
            theirs = []
            for declaration in filter(None, map(str.strip, code.split(";"))):
                kind, field, count = re.fullmatch(r"(.*?)(\w+)(?:\[(\d+)\])?", declaration).groups()
                theirs.append((field, self.size_of(kind.strip(), count)))
            self.assertEqual(theirs, [(field, streamengine.sizeof(kind)) for field, kind in ours._fields_], name)

    @staticmethod
    def size_of(kind, count):
        if kind.endswith("*"):
            return 8
        sizes = {"size_t": 8, "se_id": 8, "int64_t": 8, "uint64_t": 8, "int32_t": 4, "uint32_t": 4, "char": 1}
        return sizes[kind] * int(count or 1)

    def test_version(self):
        numbers = [re.search(rf"#define SE_VERSION_{part} (\d+)", HEADER)[1] for part in ("MAJOR", "MINOR", "PATCH")]
        self.assertEqual(streamengine.version(), ".".join(numbers))
        self.assertEqual(streamengine.build_info()["version"], streamengine.version())


class Pythons(unittest.TestCase):
    """The module and the programs on it are read by every Python that the documents promise."""

    FOLDER = Path(streamengine.__file__).parent

    def test_grammar_of_the_oldest(self):
        oldest = re.search(r"Python (\d+)\.(\d+) or later", streamengine.__doc__)
        version = tuple(map(int, oldest.groups()))
        sources = sorted(self.FOLDER.glob("*.py"))
        self.assertGreater(len(sources), 5)
        for source in [*sources, Path(__file__)]:
            ast.parse(source.read_text(), str(source), feature_version=version)
        with self.assertRaises(SyntaxError):
            ast.parse("match 1:\n    case 1: pass", feature_version=version)

    def test_compiles_without_a_warning(self):
        for source in self.FOLDER.glob("*.py"):
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-W", "error", "-m", "py_compile", shutil.copy(source, folder)]
                self.assertEqual(subprocess.run(command, stderr=subprocess.PIPE).stderr, b"")


class Missing(unittest.TestCase):
    """A library that is not there is an error that names the places."""

    def importing(self, library):
        with tempfile.TemporaryDirectory() as folder:
            alone = shutil.copy(streamengine.__file__, folder)
            environment = {name: value for name, value in os.environ.items()
                           if name not in ("STREAMENGINE_LIBRARY", "LD_LIBRARY_PATH")}
            environment["PYTHONPATH"] = folder
            if library:
                environment["STREAMENGINE_LIBRARY"] = library
            out, err = run("import streamengine", env=environment).communicate(timeout=60)
            self.assertIn("ImportError: libstreamengine cannot be loaded", err, out)
            self.assertIn(alone, err)
            self.assertIn("ldconfig", err)
            self.assertIn("LD_LIBRARY_PATH", err)
            return err

    @unittest.skipIf(ctypes.util.find_library("streamengine"), "it is installed in this system")
    def test_everywhere(self):
        self.assertIn("libstreamengine.so.0: ", self.importing(None))

    def test_where_it_was_asked_for(self):
        self.assertIn("/no/such/library.so: ", self.importing("/no/such/library.so"))

    def test_of_another_kind(self):
        other = ctypes.util.find_library("m") or "libm.so.6"
        self.assertIn("se_version_number", self.importing(other))


class Frames(unittest.TestCase):
    def setUp(self):
        self.engine = started()
        self.addCleanup(self.engine.close)

    def publisher(self, stream):
        publisher = self.engine.publish(stream)
        publisher.set_track(0, Codec.AAC, AAC_CONFIG)
        return publisher

    def next_sound(self, subscriber):
        while True:
            frame = subscriber.next(timeout=30)
            if not frame.flags & FrameFlags.CONFIG:
                return frame

    def test_go_round(self):
        with self.engine.subscribe("live/a") as subscriber, self.publisher("live/a") as publisher:
            self.assertIsNone(subscriber.next(timeout=0))
            publisher.set_metadata({"title": "a"})
            publisher.push(AAC_FRAME, Codec.AAC, 0)
            frame = self.next_sound(subscriber)
            self.assertEqual((frame.codec, bytes(frame.data)), (Codec.AAC, AAC_FRAME))
            self.assertEqual(bytes(frame.flv_body), b"\xaf\x01" + AAC_FRAME)
            self.assertEqual(frame.flv_type, 8)

    def test_views_keep_their_bytes(self):
        large = os.urandom(100_000)
        with self.engine.subscribe("live/a") as subscriber, self.publisher("live/a") as publisher:
            publisher.push(large, Codec.AAC, 0)
            with self.next_sound(subscriber) as frame:
                view = frame.data
            with self.assertRaises(Error):
                frame.data
        self.engine.close()
        self.assertEqual(view, large)
        with self.assertRaises(TypeError):
            view[0] = 1

    def test_iteration_ends_with_the_stream(self):
        subscriber = self.engine.subscribe("live/a")
        with self.publisher("live/a") as publisher:
            for number in range(5):
                publisher.push(AAC_FRAME, Codec.AAC, number * 20_000_000)
        frames = [frame for frame in subscriber if not frame.flags & FrameFlags.CONFIG]
        self.assertEqual([frame.dts_ns for frame in frames], [number * 20_000_000 for number in range(5)])
        self.assertIn("unpublished", subscriber.end)

    def test_a_flv_stream_in_pieces(self):
        data = Path(CLIP).read_bytes()
        subscriber = self.engine.subscribe("live/a")
        with self.engine.publish("live/a") as publisher:
            for at in range(0, len(data), 4099):
                publisher.push_flv(data[at:at + 4099])
        video = [frame for frame in subscriber if frame.codec == Codec.H264 and not frame.flags & FrameFlags.CONFIG]
        self.assertEqual(len(video), 250)

    def test_callbacks_are_forgotten(self):
        kept = len(streamengine._kept)
        frames, ends = [], []
        subscriber = self.engine.subscribe("live/a")
        subscriber.set_callback(frames.append, ends.append)
        self.assertEqual(len(streamengine._kept), kept + 1)
        with self.publisher("live/a") as publisher:
            publisher.push(AAC_FRAME, Codec.AAC, 0)
        wait_for(lambda: ends)
        subscriber.close()
        self.assertEqual(len(streamengine._kept), kept)
        self.assertEqual([bytes(frame.data) for frame in frames if not frame.flags & FrameFlags.CONFIG], [AAC_FRAME])

    def test_an_exception_in_a_callback_is_told(self):
        told, before = [], sys.unraisablehook
        self.addCleanup(setattr, sys, "unraisablehook", before)
        sys.unraisablehook = told.append
        subscriber = self.engine.subscribe("live/a")
        subscriber.set_callback(lambda frame: 1 / 0)
        with self.publisher("live/a") as publisher:
            publisher.push(AAC_FRAME, Codec.AAC, 0)
            wait_for(lambda: told)
        subscriber.close()
        self.assertIs(told[0].exc_type, ZeroDivisionError)

    def test_the_newest_second_says_what_is_wrong_with_a_stream(self):
        with self.publisher("live/a") as publisher:
            publisher.push(AAC_FRAME, Codec.AAC, 0)
            wait_for(lambda: [stream["problems"] for stream in self.engine.snapshot()["streams"]] ==
                     [[{"kind": "no-media", "detail": {"silence_ms": unittest.mock.ANY}}]])
            self.assertGreater(len(self.engine.history("live/a")), 1)
            self.assertGreater(self.engine.history()[-1]["at_s"], 1)
        with self.assertRaises(Error) as raised:
            self.engine.history("live/none")
        self.assertEqual(raised.exception.code, Status.NOT_FOUND)

    def test_nothing_stays_of_what_was_not_closed(self):
        for number in range(100):
            subscriber = self.engine.subscribe(f"live/{number}")
            publisher = self.publisher(f"live/{number}")
            publisher.push(AAC_FRAME, Codec.AAC, 0)
            self.next_sound(subscriber)
            del subscriber, publisher
        gc.collect()
        wait_for(lambda: self.engine.stats().streams_live == 0)


class Errors(unittest.TestCase):
    def test_carry_code_and_text(self):
        engine = Engine()
        self.addCleanup(engine.close)
        with self.assertRaises(Error) as caught:
            engine.listen_rtmp("127.0.0.1:0")
        self.assertEqual(caught.exception.code, Status.STATE)
        engine.start()
        taken = engine.listen_rtmp("127.0.0.1:0").port
        with self.assertRaisesRegex(Error, str(taken)) as caught:
            engine.listen_rtmp(f"127.0.0.1:{taken}")
        self.assertEqual(caught.exception.code, Status.ADDRESS_IN_USE)
        with self.assertRaisesRegex(Error, "NUL"):
            engine.subscribe("live/a\0b")

    def test_of_settings(self):
        config = streamengine.Config({"limits": {"ring_ms": 5000}}).set("publish.open", True)
        self.assertEqual(config.dump()["limits"]["ring_ms"], 5000)
        with self.assertRaisesRegex(Error, "no_such"):
            config.set("limits.no_such", 1)

    def test_of_closed_handles(self):
        engine = started()
        publisher = engine.publish("live/a")
        engine.close()
        engine.close()
        with self.assertRaises(Error) as caught:
            engine.stats()
        self.assertEqual(caught.exception.code, Status.CLOSED)
        with self.assertRaises(Error) as caught:
            publisher.push(AAC_FRAME, Codec.MP3, 0)
        self.assertEqual(caught.exception.code, Status.CLOSED)

    def test_numbers_of_newer_libraries(self):
        self.assertEqual(EventType(99).name, "UNKNOWN_99")
        self.assertEqual(Status(-77), -77)


class Events(unittest.TestCase):
    def test_by_selector(self):
        with Engine() as engine, selectors.DefaultSelector() as selector:
            selector.register(engine, selectors.EVENT_READ)
            self.assertEqual(selector.select(0), [])
            listener = engine.listen_rtmp("127.0.0.1:0")
            self.assertTrue(selector.select(30))
            event = engine.next_event()
            self.assertEqual((event.type, event.id), (EventType.LISTENER_OPENED, listener.id))
            self.assertIn(str(listener.port), event.peer)
            self.assertIsNone(engine.next_event())
            self.assertEqual(selector.select(0), [])

    def test_by_asyncio_beside_other_tasks(self):
        async def watch(engine):
            async for event in engine.events_async():
                if event.type == EventType.STREAM_ENDED:
                    return event.stream

        async def main():
            with Engine() as engine:
                watcher = asyncio.create_task(watch(engine))
                await asyncio.sleep(0)
                engine.publish("live/a").close()
                return await asyncio.wait_for(watcher, 30)

        self.assertEqual(asyncio.run(main()), "live/a")

    def test_end_when_another_thread_closes_the_engine(self):
        engine = started()
        ended = threading.Thread(target=lambda: list(engine.events()))
        ended.start()
        engine.close()
        ended.join(30)
        self.assertFalse(ended.is_alive())


class Requests(unittest.TestCase):
    """A second engine asks for rights in the first."""

    def setUp(self):
        self.server, self.encoder = started(), started()
        self.addCleanup(self.server.close)
        self.addCleanup(self.encoder.close)
        self.url = f"rtmp://127.0.0.1:{self.server.listen_rtmp('127.0.0.1:0').port}/live/"
        self.publisher = self.encoder.publish("out/a")
        self.publisher.set_track(0, Codec.AAC, AAC_CONFIG)
        self.publisher.push(AAC_FRAME, Codec.AAC, 0)

    def push(self, name):
        relay = self.encoder.add_push("out/a", self.url + name, {"on_refusal": "fail"})
        return lambda: self.encoder.relay_status(relay)

    def test_are_answered_at_once_later_or_refused(self):
        later = []

        def decide(request):
            if request.info.query == "now":
                request.allow()
            elif request.info.query == "later":
                later.append(request)
            elif request.info.query == "no":
                request.deny("not you")

        self.server.set_auth(decide)
        now, late, no, silent = self.push("a?now"), self.push("b?later"), self.push("c?no"), self.push("d")
        wait_for(lambda: now().state == RelayState.PUBLISHING)
        wait_for(lambda: no().state == RelayState.FAILED)
        self.assertIn("not you", no().last_error_text)
        wait_for(lambda: silent().state == RelayState.FAILED)
        wait_for(lambda: later)
        threading.Thread(target=later.pop().allow).start()
        wait_for(lambda: late().state == RelayState.PUBLISHING)

    def test_say_more_than_yes_or_nothing(self):
        errors = []

        def decide(request):
            if request.info.query == "broken":
                try:
                    request.grant(max=1)
                except Error as error:
                    errors.append(error.code)
            elif request.info.query == "pass":
                request.pass_on()
            else:
                request.grant(stream="room/1", credential="row:7", max_viewers=5)

        self.server.set_auth(decide)
        self.server.set_names_may_be_keys(True)
        self.push("key")
        wait_for(lambda: self.server.sessions("room/1"))
        self.assertEqual(self.server.kick_credential("row:7", "over"), 1)
        passed, broken = self.push("a?pass"), self.push("b?broken")
        wait_for(lambda: passed().state == RelayState.PUBLISHING)
        wait_for(lambda: broken().state == RelayState.FAILED)
        self.assertEqual(errors, [Status.INVALID_ARGUMENT])

    def test_an_engine_is_not_closed_in_its_callback(self):
        codes = []

        def decide(request):
            try:
                self.server.close()
            except Error as error:
                codes.append(error.code)

        self.server.set_auth(decide)
        self.push("a")
        self.assertEqual(wait_for(lambda: codes), [Status.DEADLOCK])


class Keys(unittest.TestCase):
    """Stream keys in a database."""

    def test_are_made_listed_rotated_revoked_and_carried_over(self):
        with tempfile.TemporaryDirectory() as folder:
            engine = started(Engine({"keys": {"url": os.path.join(folder, "keys.db")}}))
            self.addCleanup(engine.close)
            made = engine.add_key("live/alice", who="alice")
            self.assertEqual((made["who"], len(engine.keys("live/alice"))), ("alice", 1))
            self.assertNotIn("key", engine.keys()[0])
            self.assertNotEqual(engine.rotate_key(made["id"], 60)["key"], made["key"])
            engine.revoke_key(made["id"])
            self.assertTrue([key for key in engine.keys() if key["revoked"]])
            other = started(Engine({"keys": {"url": os.path.join(folder, "other.db")}}))
            self.addCleanup(other.close)
            other.import_keys(engine.export_keys())
            self.assertEqual(other.keys(), engine.keys())
            with self.assertRaises(Error) as failed:
                engine.revoke_key("nobody")
            self.assertEqual(failed.exception.code, Status.NOT_FOUND)


class Recordings(unittest.TestCase):
    """Streams become files."""

    def test_are_cut_stopped_and_listed(self):
        with tempfile.TemporaryDirectory() as folder:
            engine = started(Engine({"default_app": {"record": {"dir": folder}}}))
            self.addCleanup(engine.close)
            engine.publish_file(CLIP, "live/a")
            recording = engine.record("live/a", {"dir": folder, "format": "flv"})
            with self.assertRaises(Error) as failed:
                engine.record("live/a", {"dir": folder})
            self.assertEqual(failed.exception.code, Status.EXISTS)
            for whole in (1, 2):
                written = engine.recordings()[0]["bytes"]
                wait_for(lambda: engine.recordings()[0]["bytes"] > written)
                engine.cut_recording(recording)
                files = [file for file in engine.recorded_files("live/a") if not file["is_growing"]]
                self.assertEqual(len(files), whole)
            self.assertEqual([Path(file["path"]).read_bytes()[:3] for file in files], [b"FLV"] * 2)
            self.assertEqual(engine.recordings()[0]["files"], 2)
            engine.stop_recording(recording)
            self.assertEqual(engine.recordings(), [])
            with self.assertRaises(Error) as failed:
                engine.cut_recording(recording)
            self.assertEqual(failed.exception.code, Status.NOT_FOUND)


@unittest.skipUnless(streamengine.build_info()["http"], "the library was built without HTTP")
class OverHttp(unittest.TestCase):
    """Players that speak HTTP."""

    def setUp(self):
        self.engine = started()
        self.addCleanup(self.engine.close)
        self.engine.publish_file(CLIP, "live/a")
        self.listener = self.engine.listen_http("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{self.listener.port}/live/a.flv"

    def test_get_the_stream(self):
        with urllib.request.urlopen(self.url, timeout=30) as reply:
            self.assertEqual(reply.read(3), b"FLV")
            session = self.engine.sessions("live/a")[0]
            self.assertEqual((session["door"], session["role"], session["tls"]), ("http-flv", "player", False))
        wait_for(lambda: not self.engine.sessions("live/a"))

    def test_come_by_their_door(self):
        asked = []

        def decide(request):
            asked.append(request.info)
            request.deny("not you")

        self.engine.set_auth(decide)
        request = urllib.request.Request(self.url + "?key=5", headers={"Origin": "https://site.example"})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=30)
        with caught.exception as reply:
            self.assertEqual((reply.code, "not you" in reply.read().decode()), (403, True))
        info = asked.pop()
        self.assertEqual((info.door, info.origin, info.query), (Door.HTTP_FLV, "https://site.example", "key=5"))
        self.assertIn("Python-urllib", info.agent)

    def test_are_fetched_from_an_origin_for_who_plays_them(self):
        with Engine() as edge:
            listener = edge.listen_http("127.0.0.1:0")
            edge.set_origin("near", [f"http://127.0.0.1:{self.listener.port}"], {"linger_ms": 500})
            url = f"http://127.0.0.1:{listener.port}/live?src=near&app=live&stream=a"
            with urllib.request.urlopen(url, timeout=30) as reply:
                self.assertEqual(reply.read(3), b"FLV")
                origin = edge.origins()[0]
                self.assertEqual((origin["alias"], origin["streams"][0]["stream"]), ("near", "origin/near/live/a"))
            with self.assertRaisesRegex(Error, "linger"):
                edge.set_origin("near", [], {"linger": 500})
            edge.remove_origin("near")
            self.assertEqual(edge.origins(), [])

    def test_need_certificate_and_key_or_none_of_them(self):
        with self.assertRaises(Error) as caught:
            self.engine.listen_http("127.0.0.1:0", cert="cert.pem")
        self.assertEqual(caught.exception.code, Status.INVALID_ARGUMENT)
        with self.assertRaises(Error) as caught:
            self.engine.listen_http("127.0.0.1:0", "/no/cert.pem", "/no/key.pem")
        self.assertEqual(caught.exception.code, Status.NOT_FOUND)
        with self.assertRaises(Error) as caught:
            self.engine.reload_tls(self.listener.id)
        self.assertEqual(caught.exception.code, Status.STATE)
        self.engine.close_listener(self.listener.id)

    def test_stay_where_another_configuration_is_taken(self):
        with urllib.request.urlopen(self.url, timeout=30) as reply:
            changes = self.engine.reload({"limits": {"ring_ms": 20000}})["changes"]
            self.assertIn("limits.ring_ms", [change["key"] for change in changes])
            self.assertEqual(reply.read(3), b"FLV")
        with self.assertRaises(Error):
            self.engine.reload({"limits": {"ring": 0}})


class Closing(unittest.TestCase):
    """What one thread closes, others are using."""

    ROUNDS = 1000
    # In a program of its own: what fails here ends the interpreter.
    PROGRAM = """
        import sys, threading
        from streamengine import *
        KEYFRAME = bytes((0x17, 1, 0, 0, 0, 1))
        allowed = {Status.CLOSED, Status.STATE, Status.NOT_FOUND}
        def until_closed(call, calls, wrong):
            try:
                while True:
                    call()
                    calls.release()
            except Error as error:
                calls.release()
                if error.code not in allowed or not str(error):
                    wrong.append(error)
        def started():
            engine = Engine({"engine": {"io_threads": 1}})
            engine.start()
            return engine
        def of_publisher(engine):
            publisher = engine.publish("live/p")
            return publisher, lambda: publisher.push_flv_tag(9, 0, KEYFRAME)
        def of_subscriber(engine):
            subscriber = engine.subscribe("live/s")
            return subscriber, lambda: subscriber.next(timeout=0)
        def of_waiting_subscriber(engine):
            subscriber = engine.subscribe("live/w")
            return subscriber, lambda: subscriber.next(timeout=0.001)
        def of_frame(engine):
            with engine.subscribe("live/f") as subscriber, engine.publish("live/f") as publisher:
                publisher.push_flv_tag(9, 0, KEYFRAME)
                frame = subscriber.next()
            return frame, lambda: bytes(frame.flv_body)
        def of_config(engine):
            config = Config()
            return config, lambda: config.set("limits.ring_ms", 5000)
        def of_engine(engine):
            own = started()
            return own, lambda: (own.stats(), own.streams(), own.next_event())
        kinds = [of_publisher, of_subscriber, of_waiting_subscriber, of_frame, of_config, of_engine]
        engine, wrong = started(), []
        for number in range(int(sys.argv[1])):
            handle, call = kinds[number % len(kinds)](engine)
            calls = threading.Semaphore(0)
            threads = [threading.Thread(target=until_closed, args=(call, calls, wrong)) for _ in range(3)]
            for thread in threads: thread.start()
            for _ in threads: calls.acquire()
            # By two at once.
            closing = threading.Thread(target=handle.close)
            closing.start()
            handle.close()
            for thread in (*threads, closing): thread.join()
        engine.close()
        print("wrong", wrong)
    """

    def test_under_the_calls_of_other_threads(self):
        process = run(self.PROGRAM, str(self.ROUNDS))
        out, err = process.communicate(timeout=300)
        self.assertEqual((process.returncode, out, err), (0, "wrong []\n", ""))

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_in_a_forked_child(self):
        process = run("""
            import os, signal, sys, warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # that the process has threads is the point
            from streamengine import *
            config = Config({"limits": {"ring_ms": 5000}})
            engine = Engine(config)
            engine.start()
            engine.publish_file(sys.argv[1], "live/a")
            subscriber = engine.subscribe("live/a")
            subscriber.next()
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                for call in (engine.stats, engine.next_event, engine.start, subscriber.next, lambda: engine.stop(60)):
                    try:
                        call()
                        os._exit(1)
                    except Error as error:
                        if error.code != Status.STATE or "fork" not in str(error):
                            os._exit(2)
                with Engine(config) as own:
                    own.listen_rtmp("127.0.0.1:0")
                subscriber.close()
                sys.exit(0)  # the rest is closed by the interpreter
            pid, status = os.waitpid(child, 0)
            subscriber.next()
            print(status)
        """, CLIP)
        out, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, out, err), (0, "0\n", ""))


class Interpreters(unittest.TestCase):
    """Programs that end in all the ways that programs end."""

    def ends(self, process, code, errors=""):
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, err), (code, errors), out)
        return out

    def test_exit_without_closing_anything(self):
        out = self.ends(run("""
            import sys
            from streamengine import *
            set_log(LogLevel.TRACE, lambda line: None)
            engine = Engine()
            engine.start()
            engine.set_auth(lambda request: request.allow())
            engine.listen_rtmp("127.0.0.1:0")
            engine.publish_file(sys.argv[1], "live/a")
            subscriber = engine.subscribe("live/a")
            waiting = engine.subscribe("live/a")
            subscriber.set_callback(lambda frame: None)
            frame = waiting.next()
            view = frame.data
            publisher = engine.publish("live/b")
            print("end", flush=True)
        """, CLIP), 0)
        self.assertEqual(out, "end\n")

    def test_exit_while_threads_read(self):
        self.ends(run("""
            import sys, threading
            from streamengine import *
            engine = Engine()
            engine.start()
            engine.publish_file(sys.argv[1], "live/a")
            subscriber = engine.subscribe("live/a")
            frames = threading.Semaphore(0)
            def read():
                for frame in subscriber:
                    frames.release()
            threading.Thread(target=read, daemon=True).start()
            threading.Thread(target=lambda: list(engine.events()), daemon=True).start()
            frames.acquire()
        """, CLIP), 0)

    def test_exit_by_an_error(self):
        process = run("""
            from streamengine import *
            engine = Engine()
            engine.start()
            engine.listen_rtmp("nonsense")
        """)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("streamengine.Error: ", err)

    def interrupted(self, loop):
        process = run(f"""
            import asyncio, selectors, sys
            from streamengine import *
            engine = Engine()
            engine.start()
            engine.publish_file(sys.argv[1], "live/a")
            engine.subscribe("live/a").set_callback(lambda frame: None)
            async def watch():
                print("ready", flush=True)
                async for event in engine.events_async():
                    pass
            try:
                {loop}
            except KeyboardInterrupt:
                print("interrupted")
        """, CLIP)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", self.ends(process, 0))

    def test_ctrl_c_in_a_loop_over_events(self):
        self.interrupted("print('ready', flush=True); list(engine.events())")

    def test_ctrl_c_in_asyncio(self):
        self.interrupted("asyncio.run(watch())")

    def test_ctrl_c_in_a_wait_for_frames(self):
        self.interrupted("print('ready', flush=True); engine.subscribe('live/nothing').next()")

    def test_ctrl_c_in_a_selector(self):
        self.interrupted("s = selectors.DefaultSelector(); s.register(engine, 1); print('ready', flush=True); "
                         "[engine.next_event() for _ in iter(lambda: s.select(), None)]")


if __name__ == "__main__":
    unittest.main()
