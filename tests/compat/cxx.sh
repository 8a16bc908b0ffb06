# what: g++: templates, exceptions, threads, filesystem
# needs: g++
cat > main.cpp <<'END'
#include <filesystem>
#include <future>
#include <iostream>
#include <map>
#include <stdexcept>
template <typename T> T twice(T value) { return value + value; }
int main() {
    std::map<std::string, int> counts{{"a", twice(20)}};
    auto later = std::async(std::launch::async, [&] { return counts.at("a") + 2; });
    try { counts.at("b"); } catch (const std::out_of_range &) { std::cout << "caught "; }
    std::filesystem::create_directories("deep/er");
    std::cout << std::filesystem::is_directory("deep/er") << ' ' << later.get() << '\n';
}
END
g++ -std=c++17 -O1 -pthread main.cpp -o main
[ "$(./main)" = 'caught 1 42' ]
