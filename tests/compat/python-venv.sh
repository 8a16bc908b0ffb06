# what: python3: venv, pip install of a local wheel, console script
# needs: python3
python3 -c 'import ensurepip' 2> /dev/null || { echo 'there is no python3-venv'; exit 77; }
cat > wheel.py <<'END'
import zipfile
info = "pilot-1.0.dist-info"
files = {
    "pilot/__init__.py": "def main():\n    print('flying')\n",
    f"{info}/METADATA": "Metadata-Version: 2.1\nName: pilot\nVersion: 1.0\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{info}/entry_points.txt": "[console_scripts]\npilot = pilot:main\n",
}
files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in files) + f"{info}/RECORD,,\n"
with zipfile.ZipFile("pilot-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
END
python3 wheel.py
python3 -m venv env
env/bin/pip install -q --no-index --disable-pip-version-check pilot-1.0-py3-none-any.whl
[ "$(env/bin/pilot)" = flying ]
