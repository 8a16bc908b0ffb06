# what: git: commit, clone of a local bare repository, push, merge, rebase, worktree, stash, gc
# needs: git
export GIT_CONFIG_GLOBAL=$PWD/config
git config --global user.name Pilot
git config --global user.email pilot@example.com
git config --global init.defaultBranch main
git init -q --bare origin.git
git clone -q origin.git work 2> /dev/null
cd work
for number in 1 2 3; do echo $number >> numbers; git add numbers; git commit -qm "number $number"; done
git push -q origin main
git checkout -qb side HEAD~1
echo side > side
git add side
git commit -qm side
git rebase -q main
[ "$(git log --format=%s | tr '\n' ,)" = 'side,number 3,number 2,number 1,' ]
git checkout -q main
git merge -q --no-ff -m merged side
git push -q origin main
git clone -q ../origin.git ../second
[ "$(git -C ../second rev-parse HEAD)" = "$(git rev-parse HEAD)" ]
git worktree add -q ../tree side
[ "$(cat ../tree/side)" = side ]
echo dirty >> numbers
git stash -q
[ -z "$(git status --porcelain)" ]
git stash pop -q
git diff --stat | holds numbers
git gc -q
git fsck --full 2>&1 | { fails grep -i error; }
printf '#!/bin/sh\necho hooked > %s/hooked\n' "$PWD" > .git/hooks/post-commit
chmod +x .git/hooks/post-commit
git commit -qam hooked
[ "$(cat hooked)" = hooked ]
