#!/bin/sh
# Compiles, tests and packs the package with nothing but python3; the files that it leaves in dist/ are the artifacts.
set -eu
export PYTHONUNBUFFERED=1 # so that whoever follows the log sees each line when it is written

echo "== compile"
python3 -m compileall -f hello tests

echo "== test"
python3 -m unittest -v 2>&1

echo "== pack ${VERSION:=0.0.0}"
mkdir -p dist pack
cp -R hello pack/
python3 -m zipapp pack --main hello.__main__:main --compress --output "dist/hello-$VERSION.pyz"

echo "== run"
python3 "dist/hello-$VERSION.pyz" "Build Shuttle"

if [ -n "${RELEASE_KEY:-}" ]; then
  echo "== sign with $RELEASE_KEY"
  python3 -c 'import hashlib, hmac, os, sys
print(hmac.new(os.environ["RELEASE_KEY"].encode(), open(sys.argv[1], "rb").read(), hashlib.sha256).hexdigest())' \
    "dist/hello-$VERSION.pyz" >"dist/hello-$VERSION.pyz.hmac"
fi
ls -l dist
