# what: perl: sockets, fork, regular expressions
# needs: perl
[ "$(perl -MIO::Socket::INET -e '
$server = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!;
if (!fork) { $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $server->sockport) or die $!; print $client "a-b-c\n"; exit 0 }
$line = $server->accept->getline; $line =~ s/-/+/g; wait; print $line')" = 'a+b+c' ]
