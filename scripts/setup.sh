# shellcheck shell=bash
# Creates the environment that swiftbox runs in. Sourced by quickstart, test and check; never run directly.
#
# The environment is one folder, $venv. Its state is in $venv/.swiftbox:
#   made        the path of the folder: this script created it, so this script may recreate it
#   backend     "cpu 2.13.0": which torch was installed
#   ready       the key of the finished install (ready-dev: with the development tools)
# Written for bash 3.2, which macOS ships: ${name} before Chinese text, no empty array under `set -u`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${SWIFTBOX_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
venv=${venv%/}
state=$venv/.swiftbox
plan_only=${plan_only:-}   # prints the commands instead of running them
extras=${extras:-}         # "dev" adds the development tools
asked_backend=${asked_backend:-}

# ---- messages: to stderr, in the language of the interface (the same rule as swiftbox/language.py)

language() {
    local saved name
    saved=$(cat "${SWIFTBOX_HOME:-${HOME:-}/.swiftbox}/language" 2>/dev/null || true)
    for name in "${SWIFTBOX_LANG:-}" "$saved" "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}"; do
        case $name in
            [zZ][hH]*) echo zh && return ;;
            [eE][nN]*) echo en && return ;;
        esac
    done
    echo en
}
speech=$(language)
if [[ -t 2 && -z ${NO_COLOR:-} && ${TERM:-} != dumb ]]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi

text() { if [[ $speech == zh ]]; then printf '%s' "$2"; else printf '%s' "$1"; fi; }
say() { printf '%s\n' "$(text "$1" "$2")" >&2; }
step() { printf '%s==> %s%s\n' "$bold" "$(text "$1" "$2")" "$plain" >&2; }
fail() { # exit code, error in two languages, hint in two languages
    printf '%s%s%s%s\n' "$red" "$(text "error:" "错误：")" "$plain" "$(text " $2" "$3")" >&2
    if (($# > 3)); then printf '%s\n' "$(text "hint: $4" "建议：$5")" >&2; fi
    exit "$1"
}

# ---- actions: every command that changes something goes through `run`, so that the printed plan is complete

run() {
    if [[ -z $plan_only ]]; then
        "$@"
        return
    fi
    local line
    line=$(printf '%q ' "$@")
    printf '%s\n' "${line% }"
}

pip_install() {
    local attempt
    for attempt in 1 2 3; do
        # PIP_USER would install the packages outside the environment.
        if [[ -n $plan_only ]]; then
            run "$venv/bin/python" -m pip install "$@" && return
        elif TMPDIR=$state/tmp PIP_USER=0 "$venv/bin/python" -m pip install --no-input "${quiet[@]}" "$@" >&2; then
            return
        fi
        ((attempt == 3)) || say "pip failed; attempt $((attempt + 1)) of 3." "pip 失败；正在尝试第 $((attempt + 1)) 次，共 3 次。"
    done
    fail 1 "pip could not install: $*" "pip 无法安装：$*" \
        "see pip's last lines above (network, mirror, disk space), then run the same command again: it continues from here" \
        "请查看上面 pip 的最后几行（网络、镜像、磁盘空间），然后再次运行同一条命令，会从这里继续"
}
if [[ -t 2 ]]; then quiet=(--disable-pip-version-check); else quiet=(--disable-pip-version-check --quiet); fi

# ---- Python

install_lines() { # $1: the version whose venv module is missing, or nothing; prints how to install Python
    local apt="sudo apt-get install python3 python3-venv"
    [[ -z ${1:-} ]] || apt="sudo apt-get install python$1-venv"
    local dnf="sudo dnf install python3.12" brew="brew install python@3.12"
    if command -v apt-get >/dev/null; then
        echo "$apt"
    elif command -v dnf >/dev/null; then
        echo "$dnf"
    elif command -v brew >/dev/null; then
        echo "$brew"
    else
        echo "$apt  |  $dnf  |  $brew"
    fi
}

find_python() { # sets python
    local name version incomplete=''
    for name in ${SWIFTBOX_PYTHON:+"$SWIFTBOX_PYTHON"} python3.13 python3.12 python3.11 python3; do
        command -v "$name" >/dev/null || continue
        # A name on PATH may be a shim without an interpreter, so each is run.
        version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
        [[ -n $version ]] || continue
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            python=$(command -v "$name")
            say "    Python $version: $python" "    Python ${version}：$python"
            return
        fi
        incomplete=${incomplete:-$version}
    done
    [[ -z $incomplete ]] || fail 2 \
        "Python $incomplete lacks its venv module and pip" "Python ${incomplete} 缺少 venv 模块和 pip" \
        "$(install_lines "$incomplete")" "$(install_lines "$incomplete")"
    fail 2 "no Python 3.11 or newer on PATH" "PATH 上没有 Python 3.11 或更新的版本" \
        "$(install_lines)   (or set SWIFTBOX_PYTHON=/path/to/python3)" \
        "$(install_lines)   （或设置 SWIFTBOX_PYTHON=/path/to/python3）"
}

# ---- the machine

detect_backend() { # sets backend and reason
    if [[ -e /proc/driver/nvidia/version ]] || nvidia-smi -L >/dev/null 2>&1; then
        backend=cuda reason=$(text "NVIDIA driver detected" "检测到 NVIDIA 驱动")
    elif [[ -e /dev/kfd ]] || rocminfo >/dev/null 2>&1; then
        backend=rocm reason=$(text "AMD GPU driver detected" "检测到 AMD GPU 驱动")
    elif compgen -G '/dev/davinci*' >/dev/null || npu-smi info >/dev/null 2>&1; then
        backend=npu reason=$(text "Ascend driver detected" "检测到昇腾驱动")
    elif [[ $(uname -s) == Darwin && $(uname -m) == arm64 ]]; then
        backend=mps reason=$(text "Apple silicon" "Apple 芯片")
    else
        backend=cpu reason=$(text "no accelerator driver detected" "未检测到加速卡驱动")
    fi
}

choose_backend() { # sets backend: the requested one, else that of the environment, else that of the machine
    local recorded
    recorded=$(recorded_backend)
    if [[ -n $asked_backend ]]; then
        backend=$asked_backend reason=$(text "requested" "由参数指定")
    elif [[ -n $recorded ]]; then
        backend=$recorded reason=$(text "this environment was created for it" "该环境为它建立")
    else
        detect_backend
    fi
    case $backend in cuda | rocm | npu | mps | cpu) ;; *)
        fail 2 "unknown backend '$backend'" "未知的后端：$backend" "choose cuda, rocm, npu, mps or cpu" "可选：cuda、rocm、npu、mps、cpu" ;;
    esac
    say "    backend: $backend ($reason)" "    后端：${backend}（${reason}）"
    if [[ $(uname -s) == Darwin && $(uname -m) != arm64 ]]; then
        fail 2 "PyTorch no longer supports Intel Macs" "PyTorch 已不再支持 Intel 版 Mac" \
            "use a Linux machine or an Apple silicon Mac" "请使用 Linux 机器或 Apple 芯片的 Mac"
    fi
}

recorded_backend() { cut -d' ' -f1 "$state/backend" 2>/dev/null || true; }

torch_version() {
    local version
    version=$(sed -n 's/^ *"torch==\([^";]*\)".*/\1/p' "$root/pyproject.toml")
    [[ -n $version ]] || fail 1 "pyproject.toml does not pin torch" "pyproject.toml 中没有固定 torch 版本"
    echo "$version"
}

torch_is_in() { # needs its record and its files: an interrupted install leaves only one of them
    local folder
    [[ $(cat "$state/backend" 2>/dev/null) == "$backend $torch" ]] || return 1
    for folder in "$venv"/lib/python3*/site-packages/torch-"$torch"*.dist-info; do
        if [[ -e $folder ]]; then return 0; fi
    done
    return 1
}

check_disk() {
    local need=1 free folder=$venv
    # CPU is measured (1.8 GiB installed, plus pip's cache); the others are estimated from the sizes of the wheels.
    if [[ -n $torch_missing ]]; then
        case $backend in cuda) need=8 ;; rocm) need=16 ;; npu) need=4 ;; *) need=3 ;; esac
    fi
    while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
    free=$(df -Pk "$folder" 2>/dev/null | awk 'NR == 2 {print int($4 / 1048576)}') || free=''
    [[ -n $free ]] || return 0
    ((free >= need)) || fail 2 \
        "the install needs about $need GiB, and $folder has $free GiB free" "安装约需 $need GiB，而 $folder 只剩 $free GiB" \
        "free some space, or move the environment: SWIFTBOX_VENV=/big/disk/swiftbox-venv" \
        "请清理磁盘，或将环境放到其他磁盘：SWIFTBOX_VENV=/big/disk/swiftbox-venv"
    say "    disk: about $need GiB needed, $free GiB free" "    磁盘：约需 $need GiB，剩余 $free GiB"
}

# ---- the environment

is_healthy() { "$venv/bin/python" -I -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
is_ours() { [[ -e $state/made ]]; }

examine_venv() { # sets fresh (a new one is needed) and why (the reason the existing one cannot be used)
    fresh='' why=''
    if [[ ! -e $venv || -z $(ls -A "$venv") ]]; then
        fresh=yes
        return
    elif is_ours && [[ $(cat "$state/made") != "$venv" ]]; then
        why=$(text "it was moved or copied" "它是移动或复制过来的")
    elif ! is_healthy; then
        why=$(text "its Python or pip does not start" "其中的 Python 或 pip 无法启动")
    elif [[ -n $(recorded_backend) && $(recorded_backend) != "$backend" ]]; then
        why=$(text "it was created for $(recorded_backend)" "它是为 $(recorded_backend) 建立的")
    else
        return 0
    fi
    fresh=yes
    is_ours || fail 2 \
        "$venv cannot be used ($why), and this script did not create it" "无法使用 ${venv}（${why}），且它不是由本脚本建立的" \
        "move it away, or choose another folder: SWIFTBOX_VENV=FOLDER" "请移走它，或指定另一个目录：SWIFTBOX_VENV=目录"
}

make_venv() {
    if [[ -n $why ]]; then
        step "Recreating $venv: $why" "重新建立 ${venv}：$why"
        run rm -rf "$venv"
    else
        step "Creating a virtual environment in $venv; nothing else on this machine changes" \
            "在 $venv 建立虚拟环境，不改动本机其他内容"
    fi
    run mkdir -p "$state"
    [[ -n $plan_only ]] || printf '%s\n' "$venv" >"$state/made"
    run "$python" -m venv "$venv"
}

install_torch() {
    local spec="torch==$torch" index=()
    if [[ -n ${SWIFTBOX_TORCH_INDEX:-} ]]; then index=(--index-url "$SWIFTBOX_TORCH_INDEX"); fi
    case $backend in
        cuda) step "Installing torch $torch with CUDA: about 6 GiB" "安装 torch ${torch}（CUDA 版）：约 6 GiB" ;;
        rocm) step "Installing torch $torch with ROCm: about 12 GiB" "安装 torch ${torch}（ROCm 版）：约 12 GiB" ;;
        mps) step "Installing torch $torch with Metal: under 1 GiB" "安装 torch ${torch}（Metal 版）：不到 1 GiB" ;;
        *) step "Installing torch $torch: under 1 GiB as a CPU build" "安装 torch ${torch}：CPU 版不到 1 GiB" ;;
    esac
    if [[ -z ${SWIFTBOX_TORCH_INDEX:-} && $backend =~ ^(cpu|npu)$ && $(uname -sm) == "Linux x86_64" ]]; then
        say "    On Linux x86_64 the default torch brings CUDA libraries (about 3 GiB more) unless your pip is set up otherwise." \
            "    在 Linux x86_64 上，默认的 torch 会带上 CUDA 库（约多 3 GiB），除非 pip 另有配置。"
        say "    SWIFTBOX_TORCH_INDEX=URL selects another wheel index, such as PyTorch's CPU index." \
            "    用 SWIFTBOX_TORCH_INDEX=URL 可改用其他 wheel 源，例如 PyTorch 官方的 CPU 源。"
    fi
    pip_install "$spec" ${index[@]+"${index[@]}"}
    if [[ $backend == npu ]]; then
        step "Installing torch-npu $torch, PyTorch's Ascend plugin of the same version" "安装 torch-npu ${torch}：同版本的 PyTorch 昇腾插件"
        pip_install "$spec" "torch-npu==$torch" decorator
    fi
    [[ -n $plan_only ]] || printf '%s %s\n' "$backend" "$torch" >"$state/backend"
}

check_index() {
    [[ $backend == rocm && -z ${SWIFTBOX_TORCH_INDEX:-} ]] || return 0
    fail 2 "torch for ROCm needs SWIFTBOX_TORCH_INDEX: the default torch is a CUDA build" \
        "安装 ROCm 版 torch 需要设置 SWIFTBOX_TORCH_INDEX：默认的 torch 是 CUDA 版" \
        "set it to PyTorch's ROCm wheel index, which has torch==$torch+rocm7.2; the \"Get started\" page of the PyTorch site shows the address (Linux, Pip, ROCm)" \
        "请设为 PyTorch 的 ROCm wheel 源（含 torch==$torch+rocm7.2）；地址见 PyTorch 网站 Get started 页面的选择器（Linux、Pip、ROCm）"
}

check_torch() { # warns if the torch that pip installed cannot use the accelerator
    local code='import torch; print("cuda" if torch.version.cuda else "rocm" if torch.version.hip else "")' built
    if [[ -n $plan_only ]]; then
        run env TORCH_DEVICE_BACKEND_AUTOLOAD=0 "$venv/bin/python" -I -c "$code"
        return
    fi
    built=$(TORCH_DEVICE_BACKEND_AUTOLOAD=0 "$venv/bin/python" -I -c "$code") ||
        fail 1 "torch is installed but does not start" "torch 已安装但无法启动" "see the last lines above" "请查看上面的最后几行"
    if [[ $backend =~ ^(cuda|rocm)$ && $built != "$backend" ]]; then
        say "warning: pip installed a torch without $backend, so the GPU is not used. Set SWIFTBOX_TORCH_INDEX, delete $venv and run this again." \
            "警告：pip 源提供的 torch 不支持 ${backend}，GPU 将不会被使用。请设置 SWIFTBOX_TORCH_INDEX，删除 $venv 后重新运行。"
    fi
}

install_key() { # changes when the install must be checked again; fails when swiftbox cannot be imported
    "$venv/bin/python" -I -c 'import hashlib, platform, sys, swiftbox
print(hashlib.sha256(open(sys.argv[1] + "/pyproject.toml", "rb").read()).hexdigest(), platform.python_version(), sys.argv[1:], sys.prefix)' \
        "$root" "$(recorded_backend)" 2>/dev/null
}

is_ready() {
    local key
    [[ -e $state/backend && (-z $asked_backend || $asked_backend == "$(recorded_backend)") ]] || return 1
    key=$(install_key) || return 1
    [[ $(cat "$state/ready-dev" 2>/dev/null) == "$key" || (-z $extras && $(cat "$state/ready" 2>/dev/null) == "$key") ]]
}

interrupted() {
    rm -rf "$state/tmp"
    say "" ""
    say "Stopped. Run the same command again: it continues from here." "已停止。再次运行同一条命令即可从这里继续。"
    exit 130
}

set_up() { # creates the environment, finishes it, or finds it ready
    local backend reason torch python='' fresh why torch_missing=''
    ! is_ready || return 0
    trap interrupted INT TERM
    step "Checking this machine" "检查本机"
    torch=$(torch_version)
    choose_backend
    examine_venv
    if [[ -n $fresh ]] || ! torch_is_in; then torch_missing=yes; fi
    if [[ -n $torch_missing ]]; then check_index; fi
    if [[ -n $fresh ]]; then find_python; fi
    check_disk
    if [[ -n $fresh ]]; then make_venv; fi
    run mkdir -p "$state/tmp" # on the same disk: /tmp may be small, and pip unpacks gigabytes
    if [[ -n $torch_missing ]]; then install_torch; fi
    step "Installing swiftbox${extras:+, its development tools} and its dependencies: about 1 GiB" \
        "安装 swiftbox${extras:+、开发工具}及其依赖：约 1 GiB"
    pip_install "torch==$torch" -e "$root${extras:+[$extras]}"
    check_torch
    run rm -rf "$state/tmp"
    trap - INT TERM
    [[ -z $plan_only ]] || return 0
    install_key >"$state/ready${extras:+-$extras}" ||
        fail 1 "swiftbox is installed but does not start" "swiftbox 已安装但无法启动" "try: $venv/bin/swiftbox --help" "请试：$venv/bin/swiftbox --help"
    step "Ready in $venv ($(du -sh "$venv" | cut -f1))" "已在 $venv 安装完毕（$(du -sh "$venv" | cut -f1)）"
    print_command
}

print_command() {
    say "    the command:         $venv/bin/swiftbox" "    命令：          $venv/bin/swiftbox"
    say "    to type swiftbox:    source $venv/bin/activate" "    激活后用短命令：source $venv/bin/activate"
}

# ---- for scripts/test and scripts/check

tool_python() { # sets python: the one on PATH if it has this checkout and its tools, else that of $venv
    local code='import importlib.util as u, pathlib, sys
spec = u.find_spec("swiftbox")
ours = spec and pathlib.Path(spec.origin).resolve().parents[1] == pathlib.Path(sys.argv[1])
sys.exit(not (ours and all(u.find_spec(n) for n in ("torch", "pytest", "xdist", "ruff", "mypy", "importlinter"))))'
    if [[ -z ${SWIFTBOX_VENV:-} ]]; then
        for python in python python3; do
            if command -v "$python" >/dev/null && "$python" -I -c "$code" "$root" 2>/dev/null; then
                python=$(command -v "$python")
                return
            fi
        done
    fi
    extras=dev
    set_up
    python=$venv/bin/python
}
