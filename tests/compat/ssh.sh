# what: ssh-keygen, ssh-agent, signatures
# needs: ssh-keygen ssh-agent ssh-add
ssh-keygen -q -t ed25519 -N '' -f key
eval "$(ssh-agent -a "$PWD/agent")" > /dev/null
trap 'ssh-agent -k > /dev/null' EXIT
ssh-add -q key
ssh-add -l | holds ED25519
echo text > text
ssh-keygen -q -Y sign -f key -n file text 2> /dev/null
ssh-keygen -Y check-novalidate -n file -s text.sig < text | holds Good
