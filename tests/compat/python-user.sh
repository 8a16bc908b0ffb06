# what: pip install --user
# needs: python3 pip3
export PYTHONUSERBASE=$PWD/base PIP_BREAK_SYSTEM_PACKAGES=1
mkdir -p wheel/pilot_user wheel/pilot_user-1.0.dist-info
cd wheel
echo "print('flying')" > pilot_user/__main__.py
touch pilot_user/__init__.py
printf 'Metadata-Version: 2.1\nName: pilot-user\nVersion: 1.0\n' > pilot_user-1.0.dist-info/METADATA
printf 'Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n' > pilot_user-1.0.dist-info/WHEEL
find . -type f -printf '%P,,\n' > ../RECORD
mv ../RECORD pilot_user-1.0.dist-info/RECORD
python3 -m zipfile -c ../pilot_user-1.0-py3-none-any.whl pilot_user pilot_user-1.0.dist-info
cd ..
pip3 install -q --user --no-index --disable-pip-version-check --root-user-action=ignore pilot_user-1.0-py3-none-any.whl
[ "$(python3 -m pilot_user)" = flying ]
pip3 uninstall -q -y --root-user-action=ignore pilot-user
fails python3 -m pilot_user 2> /dev/null
