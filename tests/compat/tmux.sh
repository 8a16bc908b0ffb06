# what: tmux: session, send-keys, capture-pane
# needs: tmux
export TMUX_TMPDIR=$PWD LANG=C.UTF-8
trap 'tmux kill-server' EXIT
tmux -f /dev/null new-session -d -s pilot -x 80 -y 24 'bash --norc'
tmux send-keys -t pilot 'echo $((6 * 7)) > answer; tty; echo screen-$((40 + 2)); tmux wait-for -S done' Enter
timeout 10 tmux wait-for done
[ "$(cat answer)" = 42 ]
tmux capture-pane -p -t pilot > screen
grep -qx screen-42 screen
grep -q '^/dev/pts/' screen
tmux split-window -t pilot 'sleep 30'
[ "$(tmux list-panes -t pilot | wc -l)" = 2 ]
