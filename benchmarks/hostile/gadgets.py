"""One pickle a gadget: what a pickle can import to run code, load code, write files or reach the network.

Names are those of published gadgets: the advisories of picklescan, the issues of modelscan and fickling, and arXiv
2508.19774. Most take arguments that would create the canary; what reaches elsewhere gets arguments that lead nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .assemble import called, checkpoint, stream
from .case import Make, Payload, group

Arguments = Callable[[Payload], tuple[object, ...]]
CASES = group("pickle gadgets")
_NOWHERE = "http://127.0.0.1:9/"


def _command(payload: Payload) -> tuple[object, ...]:
    return (payload.command,)


def _code(payload: Payload) -> tuple[object, ...]:
    return (payload.code,)


def _argv(payload: Payload) -> tuple[object, ...]:
    return (list(payload.argv),)


def _path(payload: Payload) -> tuple[object, ...]:
    return (str(payload.canary),)


def _write(payload: Payload) -> tuple[object, ...]:
    return str(payload.canary), "w"


def _url(payload: Payload) -> tuple[object, ...]:
    return (_NOWHERE + payload.canary.name,)


def _module(payload: Payload) -> tuple[object, ...]:
    return ("os",)


def _shell(payload: Payload) -> tuple[object, ...]:
    return "/bin/sh", ["sh", "-c", payload.command]


# Those that create the canary when they are unpickled, on Linux with the standard library alone.
LIVE: dict[Arguments, str] = {
    _command: "os.system posix.system os.popen subprocess.getoutput subprocess.getstatusoutput",
    _code: "builtins.eval builtins.exec __builtin__.eval timeit.timeit cProfile.run profile.run",
    _argv: "subprocess.Popen subprocess.call subprocess.check_call subprocess.check_output subprocess.run",
    _write: "builtins.open io.open _io.open io.FileIO codecs.open",
}
NAMED: dict[Arguments, str] = {
    _command: "nt.system commands.getoutput popen2.popen2 platform.popen asyncio.create_subprocess_shell pty.spawn "
    "torch.utils.collect_env.run torch.utils.collect_env.run_and_read_all numpy.testing._private.utils.runstring "
    "numpy.testing._private.utils.measure distutils.spawn.spawn setuptools._distutils.spawn.spawn "
    "_osx_support._read_output _aix_support._read_cmd_output mlflow.projects.backend.local._run_entry_point "
    "_pyrepl.pager.pipe_pager pydoc.pipepager pydoc.tempfilepager fabric.api.local paramiko.proxy.ProxyCommand",
    _code: "builtins.compile code.interact code.InteractiveInterpreter.runcode codeop.compile_command bdb.Bdb.run "
    "pdb.run doctest.debug_script trace.Trace.run cProfile.runctx profile.Profile.run timeit.repeat "
    "types.FunctionType types.CodeType marshal.loads numpy.f2py.crackfortran.getlincoef "
    "numpy.f2py.crackfortran._eval_length numpy.f2py.diagnose.run torch.jit.unsupported_tensor_ops.execWrapper "
    "torch._dynamo.guards.GuardBuilder.get torch.fx.experimental.symbolic_shapes.ShapeEnv."
    "evaluate_guards_expression torch.fx.graph_module._forward_from_src torch.utils._config_module."
    "ConfigModule.load_config torch.utils.data.datapipes.utils.decoder.basichandlers torch.jit.script "
    "torch.utils.bottleneck.__main__.run_cprofile torch.utils.bottleneck.__main__.run_autograd_prof "
    "pandas.eval pandas.core.computation.eval.eval sympy.sympify numexpr.evaluate idlelib.run.Executive.runcode "
    "idlelib.pyshell.ModifiedInterpreter.runcode lib2to3.pgen2.pgen.ParserGenerator.make_label "
    "test.support.script_helper.assert_python_ok xmlrpc.server.resolve_dotted_attribute",
    _argv: "uuid._get_command_stdout "
    "os.execv os.execvp os.spawnl os.spawnv os.posix_spawn posix.posix_spawn posix.fork pip.main "
    "pip._internal.main pip._internal.cli.main.main ensurepip._run_pip ensurepip.bootstrap venv.create "
    "multiprocessing.util.spawnv_passfds asyncio.unix_events._UnixSubprocessTransport._start "
    "multiprocessing.Process threading.Thread concurrent.futures.ProcessPoolExecutor sched.scheduler.run "
    "torch.distributed.run.main torch.utils.cpp_extension.load_inline torch.utils.cpp_extension.load",
    _shell: "os.execl os.execle os.spawnlp os.spawnvpe posix.execv",
    _path: "ctypes.CDLL ctypes.cdll.LoadLibrary _ctypes.dlopen torch.ops.load_library torch.classes.load_library "
    "torch.load torch.jit.load torch.hub.load torch.hub._load_local torch.package.PackageImporter "
    "torch.storage._load_from_bytes torch.serialization.load torch.export.load torch.distributed.checkpoint.load "
    "joblib.load dill.load dill.loads cloudpickle.loads pickle.loads pickle.load _pickle.loads shelve.open "
    "numpy.load pandas.read_pickle pandas.io.pickle.read_pickle yaml.unsafe_load jsonpickle.decode sqlite3.connect "
    "runpy.run_path runpy.run_module runpy._run_code importlib.machinery.SourceFileLoader imp.load_source "
    "zipimport.zipimporter site.addsitedir site.addpackage logging.config.fileConfig os.remove os.unlink os.mkdir "
    "os.rmdir os.chmod shutil.rmtree shutil.copyfile shutil.move pathlib.Path.touch pathlib.Path.write_text "
    "tempfile.NamedTemporaryFile linecache.getlines fileinput.input distutils.file_util.write_file "
    "torch.save torch.from_file numpy.memmap numpy.fromfile numpy.save zipfile.ZipFile tarfile.open",
    _module: "builtins.__import__ importlib.import_module importlib.__import__ importlib.reload pydoc.locate "
    "pkgutil.resolve_name pkgutil.get_loader pydoc.safeimport unittest.mock._importer django.utils.module_loading."
    "import_string werkzeug.utils.import_string hydra.utils.instantiate hydra._internal.instantiate._instantiate2."
    "_resolve_target torch._inductor.codecache.PyCodeCache.load numpy.core._internal.sys sys.modules "
    "antigravity.geohash",
    _url: "webbrowser.open urllib.request.urlopen urllib.request.urlretrieve urllib.urlopen http.client.HTTPConnection "
    "requests.get requests.api.get httpx.get aiohttp.ClientSession socket.socket socket.create_connection "
    "socket.gethostbyname ssl.get_server_certificate ftplib.FTP smtplib.SMTP telnetlib.Telnet "
    "pandas.io.parsers.readers.read_csv torch.hub.load_state_dict_from_url torch.hub.download_url_to_file "
    "turtle.Screen tkinter.Tk pip.req.parse_requirements",
    lambda payload: ("system",): "operator.attrgetter operator.methodcaller operator.itemgetter functools.partial "
    "functools.reduce functools.partialmethod itertools.starmap builtins.map builtins.filter builtins.getattr "
    "builtins.setattr builtins.delattr builtins.type builtins.super builtins.vars builtins.globals builtins.input "
    "builtins.breakpoint builtins.memoryview builtins.property copyreg._reconstructor copyreg.__newobj__ "
    "copyreg.add_extension sys.settrace sys.setprofile sys.exit signal.signal atexit.register weakref.finalize "
    "gc.get_objects inspect.getattr_static types.MethodType types.ModuleType contextlib.ExitStack string.Formatter "
    "torch.nn.Module torch.ops.aten torch.utils.data.DataLoader numpy.vectorize numpy.ufunc "
    "numpy.distutils.exec_command",
}


def _make(name: str, arguments: Arguments, protocol: int, wrapped: bool) -> Make:
    module, _, attribute = name.rpartition(".")

    def make(folder: Path, payload: Payload) -> Path:
        data = stream(called(module, attribute, arguments(payload), protocol), protocol)
        path = folder / ("model.pt" if wrapped else "model.pkl")
        path.write_bytes(checkpoint(data) if wrapped else data)
        return path

    return make


def _fill() -> None:
    number = 0
    for table, live in ((LIVE, True), (NAMED, False)):
        for arguments, names in table.items():
            for name in names.split():
                # In every protocol in turn, half of them within what torch.save writes.
                make = _make(name, arguments, number % 6, wrapped=not live and number % 2 == 1)
                CASES.add(name, make, live=live)
                number += 1


_fill()
